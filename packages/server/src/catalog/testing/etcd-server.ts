// An etcd server for the catalog's tests, from the machine's own install.
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { ServerCertificates } from './postgres-server.ts'
import { findFreePort, startUntilReady, type ServerProcess } from './process.ts'

const run = promisify(execFile)

/** A server that can be killed and started again on its data. */
export interface TestEtcd extends AsyncDisposable {
  readonly url: string
  kill(): Promise<void>
  start(): Promise<void>
  freeze(): Promise<void>
  thaw(): Promise<void>
}

/** The program's path; null when it is not installed. */
export async function findEtcd(): Promise<string | null> {
  const { stdout } = await run('sh', ['-c', 'command -v etcd']).catch(() => ({ stdout: '' }))
  return stdout.trim() === '' ? null : stdout.trim()
}

/** One member; with certificates it takes connections under mutual TLS only. */
export async function startTestEtcd(command: string, certificates?: ServerCertificates): Promise<TestEtcd> {
  const folder = await mkdtemp(join(tmpdir(), 'fleetshard-etcd-'))
  const clientPort = await findFreePort()
  const client = `${certificates === undefined ? 'http' : 'https'}://127.0.0.1:${clientPort}`
  const peer = `http://127.0.0.1:${await findFreePort()}`
  const args = [
    ['--data-dir', join(folder, 'data')],
    ['--listen-client-urls', client],
    ['--advertise-client-urls', client],
    ['--listen-peer-urls', peer],
    ['--initial-advertise-peer-urls', peer],
    ['--initial-cluster', `default=${peer}`],
    certificates === undefined ? [] : await tlsFlags(folder, certificates),
  ].flat()
  let running: ServerProcess | null = null
  const server: TestEtcd = {
    url: client.replace('http:', 'etcd:').replace('https:', 'etcd+https:'),
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
      running = await startUntilReady({ command, args }, async () =>
        certificates === undefined
          ? (await fetch(`${client}/health`)).ok
          : takesHandshake(Number(clientPort), certificates),
      )
    },
    async [Symbol.asyncDispose]() {
      await running?.kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
  await server.start()
  return server
}

async function tlsFlags(folder: string, { ca, certificate, key }: ServerCertificates): Promise<string[]> {
  const write = async (name: string, text: string): Promise<string> => {
    await writeFile(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  return [
    ['--cert-file', await write('server.crt', certificate)],
    ['--key-file', await write('server.key', key)],
    ['--trusted-ca-file', await write('ca.crt', ca)],
    ['--client-cert-auth'],
  ].flat()
}

/** etcd listens as soon as it can answer. */
function takesHandshake(port: number, { ca, certificate, key }: ServerCertificates): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, ca, cert: certificate, key })
    socket.once('error', () => {
      resolve(false)
    })
    socket.once('secureConnect', () => {
      socket.destroy()
      resolve(true)
    })
  })
}
