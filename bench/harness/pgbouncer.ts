// pgbouncer as a peer: transaction pooling before one server, settings as its manual advises for a machine like this.
import { spawn } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { freePort } from './program.ts'
import type { PgTarget } from './pgbench.ts'
import { measure, type Measured } from './process.ts'

const program = '/usr/sbin/pgbouncer'
/** Its account on Debian: pgbouncer does not run as root. */
const account = { uid: 65_534, gid: 65_534 }
const readyMsMax = 10_000

/** A running pgbouncer. */
export type Pgbouncer = Measured & { readonly target: PgTarget }

/** True where it is installed. */
export const hasPgbouncer = existsSync(program)

/** Starts one before the server. */
export async function startPgbouncer(server: PgTarget): Promise<Pgbouncer> {
  const folder = mkdtempSync('/var/tmp/fleetshard-pgbouncer-')
  const port = await freePort()
  const users = join(folder, 'users.txt')
  const config = join(folder, 'pgbouncer.ini')
  writeFileSync(users, `"${server.user}" "${server.password}"\n`)
  writeFileSync(config, settings(server, users, port))
  const asRoot = process.getuid?.() === 0
  chmodSync(folder, 0o700)
  if (asRoot) for (const path of [folder, users, config]) chownSync(path, account.uid, account.gid)
  const child = spawn(program, ['-q', config], {
    stdio: ['ignore', 'ignore', 'inherit'],
    ...(asRoot ? account : {}),
  })
  const measured = measure(child, {})
  await reachable(port)
  return {
    ...measured,
    target: { ...server, host: '127.0.0.1', port },
    async [Symbol.asyncDispose]() {
      // SIGINT waits for clients, SIGTERM does not.
      await measured[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function settings({ host, port, database }: PgTarget, users: string, listenPort: number): string {
  return `[databases]
${database} = host=${host} port=${String(port)} dbname=${database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${String(listenPort)}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = transaction
max_client_conn = 2000
default_pool_size = 40
server_reset_query =
log_connections = 0
log_disconnections = 0
log_stats = 0
verbose = 0
`
}

async function reachable(port: number): Promise<void> {
  const deadline = performance.now() + readyMsMax
  while (performance.now() < deadline) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1')
      socket.once('connect', () => {
        socket.destroy()
        resolve(true)
      })
      socket.once('error', () => {
        resolve(false)
      })
    })
    if (open) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('pgbouncer did not begin to listen')
}
