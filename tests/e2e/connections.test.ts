// Many clients that do nothing, and clients that don't read: the router serves the others, within its memory.
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startCluster, type Cluster } from './harness/cluster.ts'
import { until } from './harness/until.ts'

const idleConnections = 2_000
const slowReaders = 12
/** Of one answer: more than a socket's buffers take. */
const answerBytes = 16 * 1024 * 1024

let cluster: Cluster
const sockets: Socket[] = []
beforeAll(async () => {
  cluster = await startCluster({ up: ['--shards', '1', '--replicas', '0'] })
})
afterAll(async () => {
  for (const socket of sockets) socket.destroy()
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

function open(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(cluster.state.ports['router.http-port'] ?? 0, '127.0.0.1', () => {
      resolve(socket)
    })
    socket.once('error', reject)
    sockets.push(socket)
  })
}

/** Resident memory of the whole of `up`, bytes. */
function residentBytes(): number {
  const status = readFileSync(`/proc/${String(cluster.state.pid)}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024
}

async function answers(): Promise<void> {
  const { status } = await cluster.execute({ shard_key: 'a', query: 'SELECT 1 AS one' })
  expect(status).toBe(200)
}

test('idle connections stay open and cost others nothing', async () => {
  const before = residentBytes()
  for (let opened = 0; opened < idleConnections; opened += 100)
    await Promise.all(Array.from({ length: 100 }, open))
  await answers()
  expect(sockets.filter(({ destroyed }) => destroyed)).toEqual([])
  expect(residentBytes() - before).toBeLessThan(idleConnections * 50_000)
  const [first] = sockets
  const answered = new Promise<string>((resolve) => first?.once('data', (chunk) => resolve(chunk.toString())))
  first?.write('GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n')
  expect(await answered).toContain('200 OK')
})

test('readers that take nothing don’t keep others from their answers, nor grow the router without bound', async () => {
  const query = `SELECT repeat('x', ${String(answerBytes)}) AS x`
  const body = JSON.stringify({ shard_key: 'a', query })
  const before = residentBytes()
  const slow = await Promise.all(Array.from({ length: slowReaders }, open))
  for (const socket of slow) {
    socket.pause()
    socket.write(
      `POST /v1/execute HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${String(body.length)}\r\n\r\n${body}`,
    )
  }
  for (let count = 0; count < 50; count += 1) await answers()
  // Twice the answers: as they came from the server and as they go to the client.
  expect(residentBytes() - before).toBeLessThan(slowReaders * answerBytes * 3)
  const [one] = slow
  let taken = 0
  one?.on('data', (chunk: Buffer) => (taken += chunk.length))
  one?.resume()
  await until('a reader that wakes up gets all of its answer', () => taken > answerBytes)
  for (const socket of slow) socket.destroy()
  await answers()
})
