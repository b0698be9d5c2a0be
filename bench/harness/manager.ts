// A manager on a catalog and shards of one server, and the calls of its API.
import { randomBytes } from 'node:crypto'
import { Agent, request } from 'node:http'
import { measure, type Measured } from './process.ts'
import { freePort, isReady, startProgram, until } from './program.ts'
import type { BenchServer } from './server.ts'

/** A manager without routers, whose catalog lies in a database of its own. */
export interface BenchManager extends Measured {
  readonly port: number
  readonly agent: Agent
}

/** Starts one; that many requests are sent to it at once at most. */
export async function startBenchManager(server: BenchServer, callers: number): Promise<BenchManager> {
  const [catalog = ''] = await freshDatabases(server, 1)
  const port = await freePort()
  const url = `postgres://${server.user}@${server.host}:${String(server.port)}/${catalog}`
  const child = startProgram(
    ['manager', '--http-port', String(port), '--metrics-port', '0', '--catalog-url', url],
    { FLEETSHARD_CATALOG_PASSWORD: server.password },
  )
  await until(() => isReady(port), child)
  const agent = new Agent({ keepAlive: true, maxSockets: callers })
  return { ...measure(child, {}), port, agent }
}

/** Makes a shard of that name of the database of that name; `host`: another address of the server. */
export async function createShard(
  manager: BenchManager,
  server: BenchServer,
  name: string,
  host = server.host,
): Promise<void> {
  const { port, user, password } = server
  const primary_endpoint = `postgres://${user}:${password}@${host}:${String(port)}/${name}`
  await call(manager, 'POST /api/v1/shards', 201, { name, primary_endpoint, vnode_count: 256 })
}

/** Makes databases that nobody has used. */
export async function freshDatabases(server: BenchServer, count: number): Promise<string[]> {
  const names = Array.from({ length: count }, () => `s${randomBytes(6).toString('hex')}`)
  await server.run(names.map((name) => `create database ${name}`))
  return names
}

/** Drops them, whoever is connected. */
export async function dropDatabases(server: BenchServer, names: readonly string[]): Promise<void> {
  await server.run(names.map((name) => `drop database ${name} with (force)`))
}

/** One request over a kept connection. @throws Error for any other status */
export function call(
  { agent, port }: BenchManager,
  asked: string,
  status: number,
  body?: unknown,
): Promise<void> {
  const [method, path] = asked.split(' ')
  const headers = body === undefined ? {} : { 'content-type': 'application/json' }
  return new Promise((resolve, reject) => {
    const sent = request({ agent, host: '127.0.0.1', port, method, path, headers }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.once('end', () => {
        if (answer.statusCode === status) resolve()
        else reject(new Error(`${asked}: ${String(answer.statusCode)} ${Buffer.concat(chunks).toString()}`))
      })
    })
    sent.once('error', reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}
