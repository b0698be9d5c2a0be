// `http`: point reads by HTTP through the router, beside a plain server (fastify and pg.Pool) on the same database, in
// the same run. Postgres, the servers and the load generator share the machine's cores.
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { alternate, difference, medianRuns, ratio, type Variant } from '../harness/alternate.ts'
import { startBenchCluster, type BenchCluster } from '../harness/cluster.ts'
import { runToEnd, startMeasured, type Measured } from '../harness/process.ts'
import { atLeast, atMost, describeMachine, median, round, type Report, type Run } from '../harness/report.ts'
import { fillUsers, userKey } from './users.ts'
import type { LoadOrder, LoadResult } from '../load/http-load.ts'

const bodyCount = 500
const rounds = 5
const warmupMs = 1_500
const measureMs = 4_000
const pollMs = 50
const withToken = 'fleetshard with a token'
const query = 'select id, user_id, name, email from users where user_id = $1'

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** Measures reads by HTTP. */
export async function http(onRun: (run: Run) => void): Promise<Report> {
  await using cluster = await startBenchCluster(1)
  const url = await fillUsers(cluster)
  await using plain = await startMeasured(script('../peers/plain-server.ts'), [], { PLAIN_URL: url })
  await using echo = await startMeasured(script('../load/echo-server.ts'))
  const port = (server: Measured): number => Number(server.ready['port'])
  const variants = [
    serverVariant('fleetshard', cluster.router, cluster.router.port),
    serverVariant(withToken, cluster.router, cluster.router.port, await tokenOf(cluster)),
    serverVariant('plain fastify + pg.Pool', plain, port(plain)),
  ]
  const one = await alternate([...variants, directVariant(url)], 1, rounds, onRun)
  const many = await alternate(variants, 64, rounds, onRun)
  const ceiling = await serverVariant('load generator alone', echo, port(echo)).run(64)
  const throughput = (run: Run): number => run.ops_per_s
  const latency = (run: Run): number => run.p50_ms ?? NaN
  const ours = median((many.runs.get('fleetshard') ?? []).map(throughput))
  const times = ratio(many, 'fleetshard', 'plain fastify + pg.Pool', throughput)
  const asked = ratio(many, withToken, 'fleetshard', throughput)
  const added = difference(one, 'fleetshard', 'direct pg', latency)
  return {
    workload: 'http',
    machine: `${describeMachine()}, PostgreSQL ${cluster.postgresVersion}`,
    runs: [...medianRuns(one), ...medianRuns(many), ceiling],
    ratios: {
      'fleetshard / plain, throughput at 64': times,
      'with / without a token, throughput at 64': asked,
      'fleetshard / plain, throughput at 1': ratio(one, 'fleetshard', 'plain fastify + pg.Pool', throughput),
      'fleetshard / plain, p99 at 64': ratio(
        many,
        'fleetshard',
        'plain fastify + pg.Pool',
        (run) => run.p99_ms ?? NaN,
      ),
    },
    targets: [
      atLeast('fleetshard at 64 connections, ops/s', 10_000, ours),
      atLeast('fleetshard / plain at 64 connections', 2, times),
      atLeast('with / without a token at 64 connections', 0.9, asked),
      atMost('median latency added to one direct pg connection, ms', 0.5, added),
    ],
    notes: [
      `the load generator alone reaches ${String(round(ceiling.ops_per_s))} requests/s against a server that does nothing`,
      'cpu µs/op is that of the server process; Postgres and the load generator come on top',
    ],
  }
}

/** A token of the API that the router knows already. */
async function tokenOf({ managerUrl, router }: BenchCluster): Promise<string> {
  const headers = { 'content-type': 'application/json' }
  const body = JSON.stringify({ name: 'bench', scopes: ['write:default'] })
  const made = await fetch(`${managerUrl}/api/v1/tokens`, { method: 'POST', headers, body })
  const { token } = (await made.json()) as { token: string }
  const url = `http://127.0.0.1:${String(router.port)}/v1/topology`
  const isKnown = async (): Promise<boolean> => {
    const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } })
    await answer.arrayBuffer()
    return answer.ok
  }
  while (!(await isKnown())) await pause(pollMs)
  return token
}

function serverVariant(name: string, server: Measured, port: number, token: string | null = null): Variant {
  const bodies = Array.from({ length: bodyCount }, (_, index) =>
    JSON.stringify({ query, params: [userKey(index)] }),
  )
  return {
    name,
    async run(clients) {
      const order: LoadOrder = {
        host: '127.0.0.1',
        port,
        path: '/v1/execute',
        bodies,
        token,
        connections: clients,
        warmupMs,
        measureMs,
      }
      const before = server.cpuMs()
      const result = (await runToEnd(script('../load/http-load.ts'), [JSON.stringify(order)])) as LoadResult
      if (result.failures > 0)
        throw new Error(
          `${name}: ${String(result.failures)} failures, one of them: ${String(result.failure)}`,
        )
      // The warm-up's requests are not counted but cost CPU time: it is taken off by its part of the time.
      const cpuMs = ((server.cpuMs() - before) * measureMs) / (measureMs + warmupMs)
      return {
        variant: name,
        clients,
        ops_per_s: (result.requests * 1000) / result.elapsedMs,
        p50_ms: result.p50Ms,
        p99_ms: result.p99Ms,
        cpu_us_per_op: (cpuMs * 1000) / result.requests,
        rss_mb: server.rssMb(),
      }
    },
  }
}

/** One pg connection in this process, one prepared statement at a time: the floor for latency. */
function directVariant(url: string): Variant {
  return {
    name: 'direct pg',
    async run(clients) {
      const client = new pg.Client({ connectionString: url })
      await client.connect()
      const times: number[] = []
      const begun = performance.now()
      for (let index = 0; performance.now() - begun < warmupMs + measureMs; index += 1) {
        const sent = performance.now()
        await client.query({ name: 'read', text: query, values: [userKey(index)] })
        if (sent - begun > warmupMs) times.push(performance.now() - sent)
      }
      await client.end()
      const sorted = times.toSorted((a, b) => a - b)
      const at = (part: number): number => sorted[Math.floor(sorted.length * part)] ?? NaN
      return {
        variant: 'direct pg',
        clients,
        ops_per_s: (times.length * 1000) / measureMs,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        cpu_us_per_op: null,
        rss_mb: null,
      }
    },
  }
}
