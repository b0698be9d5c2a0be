// An etcd server for the catalog's tests, from the machine's own install.
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
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

/** One member. */
export async function startTestEtcd(command: string): Promise<TestEtcd> {
  const folder = await mkdtemp(join(tmpdir(), 'fleetshard-etcd-'))
  const client = `http://127.0.0.1:${await findFreePort()}`
  const peer = `http://127.0.0.1:${await findFreePort()}`
  const args = [
    ['--data-dir', join(folder, 'data')],
    ['--listen-client-urls', client],
    ['--advertise-client-urls', client],
    ['--listen-peer-urls', peer],
    ['--initial-advertise-peer-urls', peer],
    ['--initial-cluster', `default=${peer}`],
  ].flat()
  let running: ServerProcess | null = null
  const server: TestEtcd = {
    url: client.replace('http:', 'etcd:'),
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
      running = await startUntilReady({ command, args }, async () => (await fetch(`${client}/health`)).ok)
    },
    async [Symbol.asyncDispose]() {
      await running?.kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
  await server.start()
  return server
}
