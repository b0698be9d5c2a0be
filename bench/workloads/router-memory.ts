// `router-memory`: what a router takes whose map has 1,000 shards of 256 vnodes each, read from a real catalog: when it
// is ready, and after some seconds of requests for the places of keys.
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createCatalog, openCatalogStore } from '../../packages/server/src/catalog/mod.ts'
import { silentLogger, systemClock } from '../../packages/server/src/runtime/mod.ts'
import { measure } from '../harness/process.ts'
import { freePort, isReady, startProgram, until } from '../harness/program.ts'
import { startBenchServer } from '../harness/server.ts'
import { atMost, describeMachine, median, type Report, type Run } from '../harness/report.ts'
import { largeSnapshot } from './large-snapshot.ts'

const shardCount = 1_000
const vnodeCount = 256
/** Shards of one commit, within the catalog's limit. */
const shardsPerCommit = 50
const rounds = 3
const residentMbMax = 150
const settleMs = 3_000
const connections = 64
const loadMs = 5_000

/** Measures the router's memory. */
export async function routerMemory(onRun: (run: Run) => void): Promise<Report> {
  await using server = await startBenchServer()
  const url = server.url(server.database)
  await fillCatalog(url)
  const runs: Run[] = []
  for (let round = 0; round < rounds; round += 1) {
    for (const run of await oneRouter(url)) {
      runs.push(run)
      onRun(run)
    }
  }
  const worst = (variant: string): Run => {
    const own = runs.filter((run) => run.variant === variant)
    const middle = median(own.map((run) => run.rss_mb ?? NaN))
    return own.find((run) => run.rss_mb === middle) ?? { ...emptyRun, variant }
  }
  const [idle, busy] = [worst('idle'), worst('placing keys')]
  return {
    workload: 'router-memory',
    machine: describeMachine(),
    runs: [idle, busy],
    ratios: {},
    targets: [
      atMost('resident, idle, 1,000 shards × 256 vnodes, MiB', residentMbMax, idle.rss_mb ?? NaN),
      atMost('resident after the load, MiB', residentMbMax, busy.rss_mb ?? NaN),
    ],
    notes: ['medians of three routers, each started anew'],
  }
}

const emptyRun: Run = {
  variant: '',
  clients: 0,
  ops_per_s: NaN,
  p50_ms: null,
  p99_ms: null,
  cpu_us_per_op: null,
  rss_mb: null,
}

/** The large map, written as the manager would: 50 shards a change. */
async function fillCatalog(url: string): Promise<void> {
  const { keyspace, shards } = largeSnapshot(shardCount, vnodeCount)
  await using store = openCatalogStore(url, { clock: systemClock, log: silentLogger })
  const catalog = createCatalog({ store, clock: systemClock, uuid: randomUUID })
  await catalog.keyspaces.create(keyspace)
  for (let at = 0; at < shards.length; at += shardsPerCommit) {
    const put = shards.slice(at, at + shardsPerCommit)
    await catalog.changeRouting(keyspace.name, () => ({ put }))
  }
}

async function oneRouter(url: string): Promise<Run[]> {
  const folder = mkdtempSync(join(tmpdir(), 'fleetshard-bench-'))
  const port = await freePort()
  const args = ['router', '--http-port', String(port), '--metrics-port', '0', '--catalog-url', url]
  const child = startProgram([...args, '--router-map-cache-file', join(folder, 'map')])
  try {
    await using router = measure(child, {})
    await until(() => isReady(port), child)
    await new Promise((resolve) => setTimeout(resolve, settleMs))
    const idle: Run = { ...emptyRun, variant: 'idle', rss_mb: router.rssMb() }
    const cpuMs = router.cpuMs()
    const begun = performance.now()
    const requests = await placeKeys(port)
    const busy: Run = {
      ...emptyRun,
      variant: 'placing keys',
      clients: connections,
      ops_per_s: (requests * 1000) / (performance.now() - begun),
      cpu_us_per_op: ((router.cpuMs() - cpuMs) * 1000) / requests,
      rss_mb: router.rssMb(),
    }
    return [idle, busy]
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Asks where keys lie, over that many connections at once; how many answers came. */
async function placeKeys(port: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const end = performance.now() + loadMs
  let answers = 0
  const ask = async (): Promise<void> => {
    while (performance.now() < end) {
      const path = `/v1/shard-for-key?keyspace=large&key=user-${String(answers)}`
      const status = await new Promise((resolve, reject) => {
        get({ agent, host: '127.0.0.1', port, path }, (answer) => {
          answer.resume().once('end', () => {
            resolve(answer.statusCode)
          })
        }).once('error', reject)
      })
      if (status !== 200) throw new Error(`${path}: ${String(status)}`)
      answers += 1
    }
  }
  await Promise.all(Array.from({ length: connections }, ask))
  agent.destroy()
  return answers
}
