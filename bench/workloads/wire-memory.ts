// `wire-memory`: what the Postgres port takes in memory: for thousands of clients that do nothing, and while a result
// of two gigabytes goes to a client that reads slower than its server sends.
import { connect, type Socket } from 'node:net'
import { startBenchCluster, type BenchCluster } from '../harness/cluster.ts'
import { atMost, describeMachine, type Report, type Run } from '../harness/report.ts'
import {
  backendCode,
  MessageSplitter,
  WireWriter,
  writeQuery,
  writeStartup,
} from '@fleetshard/routing/pgwire'

const idleClients = 5_000
const openAtOnce = 50
const idleMbMax = 100
const rowBytes = 100_000
const rowCount = 20_000
/** The slow client reads so much, then rests. */
const burstBytes = 8 * 1024 * 1024
const restMs = 20
/** Before it reads anything at all. */
const firstRestMs = 3_000
const slowMbMax = 50
const settleMs = 3_000
const sampleEveryMs = 100

/** Measures the memory of the Postgres port. */
export async function wireMemory(onRun: (run: Run) => void): Promise<Report> {
  await using cluster = await startBenchCluster(1, {
    routerWords: [
      ['--router-wire-connections-max', String(idleClients + 100)],
      ['--router-wire-connections-per-address', String(idleClients + 100)],
    ].flat(),
  })
  const port = cluster.router.wirePort
  // The first client has the router read the shard's names and open its connections.
  const first = await openClient(port)
  await first.run('select 1')
  await pause(settleMs)
  const slow = await slowReader(cluster, port)
  onRun(slow.run)
  await pause(settleMs)
  const idle = await idleOnes(cluster, port)
  onRun(idle.run)
  const rows = await first.run('select 1')
  if (rows !== 1) throw new Error('the router does not answer beside idle clients')
  first.socket.destroy()
  return {
    workload: 'wire-memory',
    machine: `${describeMachine()}, PostgreSQL ${cluster.postgresVersion}`,
    runs: [slow.run, idle.run],
    ratios: {},
    targets: [
      atMost(`${String(idleClients)} idle clients take, MiB`, idleMbMax, idle.grownMb),
      atMost('a result of 2 GB to a slow reader takes at most, MiB', slowMbMax, slow.grownMb),
    ],
    notes: [
      `the slow reader rests ${String(restMs)} ms after each 8 MiB, and ${String(firstRestMs)} ms before the first; its memory is the highest of all samples`,
    ],
  }
}

interface Grown {
  readonly run: Run
  /** Resident memory beyond that before. */
  readonly grownMb: number
}

async function idleOnes({ router }: BenchCluster, port: number): Promise<Grown> {
  const before = router.rssMb()
  const cpuBefore = router.cpuMs()
  const begun = performance.now()
  const sockets: Socket[] = []
  while (sockets.length < idleClients) {
    const opened = await Promise.all(Array.from({ length: openAtOnce }, () => openClient(port)))
    sockets.push(...opened.map(({ socket }) => socket))
  }
  const elapsedMs = performance.now() - begun
  const cpuMs = router.cpuMs() - cpuBefore
  await pause(settleMs)
  const rss = router.rssMb()
  for (const socket of sockets) socket.destroy()
  return { run: runOf('idle clients, logins', idleClients, { elapsedMs, cpuMs, rss }), grownMb: rss - before }
}

async function slowReader({ router }: BenchCluster, port: number): Promise<Grown> {
  const client = await openClient(port)
  const before = router.rssMb()
  const cpuBefore = router.cpuMs()
  const begun = performance.now()
  let highest = before
  const sampling = setInterval(() => {
    highest = Math.max(highest, router.rssMb())
  }, sampleEveryMs)
  client.readSlowly()
  const rows = await client.run(
    `select repeat('x', ${String(rowBytes)}) from generate_series(1, ${String(rowCount)})`,
  )
  clearInterval(sampling)
  client.socket.destroy()
  if (rows !== rowCount) throw new Error(`${String(rows)} rows came`)
  const measured = {
    elapsedMs: performance.now() - begun,
    cpuMs: router.cpuMs() - cpuBefore,
    rss: highest,
  }
  return { run: runOf('2 GB to a slow reader, rows', rowCount, measured), grownMb: highest - before }
}

function runOf(
  variant: string,
  count: number,
  { elapsedMs, cpuMs, rss }: { elapsedMs: number; cpuMs: number; rss: number },
): Run {
  return {
    variant,
    clients: variant.startsWith('idle') ? count : 1,
    ops_per_s: (count * 1000) / elapsedMs,
    p50_ms: null,
    p99_ms: null,
    cpu_us_per_op: (cpuMs * 1000) / count,
    rss_mb: rss,
  }
}

interface Client {
  readonly socket: Socket
  /** Runs a query; resolves with the number of its rows. */
  run(query: string): Promise<number>
  /** From now on it rests after each burst. */
  readSlowly(): void
}

/** A client that has logged in. */
function openClient(port: number): Promise<Client> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    let rows = 0
    let whenReady = (): void => {
      resolve({ socket, run, readSlowly })
    }
    const run = (query: string): Promise<number> =>
      new Promise((done) => {
        rows = 0
        whenReady = () => {
          done(rows)
        }
        send(socket, (out) => {
          writeQuery(out, query)
        })
      })
    const readSlowly = (): void => {
      rest(socket, firstRestMs)
      let read = 0
      socket.on('data', (chunk) => {
        read += chunk.length
        if (read < burstBytes) return
        read = 0
        rest(socket, restMs)
      })
    }
    const splitter = new MessageSplitter({
      message(type) {
        if (type === backendCode.dataRow) rows += 1
        else if (type === backendCode.readyForQuery) whenReady()
        else if (type === backendCode.errorResponse) reject(new Error('the router refused a client'))
      },
      acceptsPieces: (type) => type === backendCode.dataRow,
      piece(_buf, _start, _end, bytesLeft) {
        if (bytesLeft === 0) rows += 1
      },
    })
    socket.on('data', (chunk: Buffer) => splitter.feed(chunk))
    socket.once('error', reject)
    send(socket, (out) => {
      writeStartup(out, { user: 'app', database: 'default' })
    })
  })
}

function send(socket: Socket, write: (out: WireWriter) => void): void {
  const out = new WireWriter()
  write(out)
  socket.write(Buffer.from(out.bytes()))
}

function rest(socket: Socket, ms: number): void {
  socket.pause()
  setTimeout(() => {
    socket.resume()
  }, ms)
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
