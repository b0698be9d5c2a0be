// Traces of whole clusters, as a collector gets them by OTLP: from the client through the router to the shards, from a
// request to the manager through the job to the worker; and nothing of all that where no endpoint is configured.
import { readFileSync } from 'node:fs'
import { context as otel, propagation, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type ReadableSpan,
} from '@opentelemetry/sdk-trace-base'
import { connect } from '@fleetshard/client'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startCluster, usersSchema, type Cluster } from './harness/cluster.ts'
import { startCollector, treeOf, type CollectedSpan, type Collector } from './harness/collector.ts'
import { eventsOf } from './harness/events.ts'
import { readText } from './harness/http.ts'
import { until } from './harness/until.ts'

const secret = 'hunter2'

interface TracedSpan {
  readonly span_id: string
  readonly children: readonly TracedSpan[]
}

interface ToldTrace {
  readonly trace_id: string
  readonly root: TracedSpan
}

let collector: Collector
let cluster: Cluster
beforeAll(async () => {
  collector = await startCollector()
  cluster = await startCluster({
    up: ['--replicas', '1', '--trace-otlp-url', collector.url, '--trace-sample-percent', '100'],
    env: { FLEETSHARD_TRACE_OTLP_AUTHORIZATION: `Bearer ${secret}` },
  })
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
  await (collector as Collector | undefined)?.[Symbol.asyncDispose]()
})

/** The spans of a trace once there are as many as wanted. */
function traceOf(traceId: string, count: number): Promise<readonly CollectedSpan[]> {
  return until(`${String(count)} spans of the trace`, () => {
    const found = collector.spans.filter((span) => span.traceId === traceId)
    return found.length >= count ? found : undefined
  })
}

const newTrace = (): { traceId: string; traceparent: string } => {
  const traceId = crypto.randomUUID().replaceAll('-', '')
  return { traceId, traceparent: `00-${traceId}-b7ad6b7169203331-01` }
}

test('an order to the manager, the job that it makes, and the effects of that are one trace', async () => {
  const { traceId, traceparent } = newTrace()
  const answer = await cluster.manager(
    'POST',
    '/api/v1/keyspaces/default/tables',
    {
      tables: [{ name: 'users', kind: 'sharded', key_column: 'user_id' }],
      ddl: usersSchema,
      wait_ms: 60_000,
    },
    { traceparent },
  )
  expect(answer.status).toBe(201)
  const spans = await until('the job has ended in the trace', () => {
    const found = collector.spans.filter((span) => span.traceId === traceId)
    const names = new Set(found.map(({ name }) => name))
    const isWhole = names.has('job schema') && names.has('POST /api/v1/keyspaces/:keyspace/tables')
    return isWhole ? found : undefined
  })
  const tree = treeOf(spans)
  expect(tree.split('\n').slice(0, 2)).toEqual([
    'fleetshard-manager POST /api/v1/keyspaces/:keyspace/tables',
    '  fleetshard-worker job schema',
  ])
  expect(tree).toMatch(/\n {4}fleetshard-worker \w+/)
})

/** What the client of this test records, in the form of the collector's. */
const own = (span: ReadableSpan): CollectedSpan => ({
  service: 'client',
  traceId: span.spanContext().traceId,
  spanId: span.spanContext().spanId,
  parentSpanId: span.parentSpanContext?.spanId ?? '',
  name: span.name,
  startNs: BigInt(span.startTime[0]) * 1_000_000_000n + BigInt(span.startTime[1]),
  endNs: BigInt(span.endTime[0]) * 1_000_000_000n + BigInt(span.endTime[1]),
  attributes: span.attributes,
  failed: span.status.code === 2,
})

test('a statement over all shards: client, router, plan and shards', async () => {
  const exporter = new InMemorySpanExporter()
  otel.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  propagation.setGlobalPropagator({
    fields: () => ['traceparent'],
    extract: (at) => at,
    inject(at, carrier, setter) {
      const span = trace.getSpanContext(at)
      if (span !== undefined) setter.set(carrier, 'traceparent', `00-${span.traceId}-${span.spanId}-01`)
    },
  })
  const spanProcessors = [new SimpleSpanProcessor(exporter)]
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors }))
  try {
    const db = await connect({ url: cluster.state.urls.router, mode: 'http' })
    const root = trace.getTracer('test').startSpan('all users')
    const rows: unknown[] = []
    await otel.with(trace.setSpan(otel.active(), root), async () => {
      await db.shard('u1').sql`INSERT INTO users (user_id, name, email) VALUES (${'u1'}, ${secret}, 'x')`
      for await (const row of db.all().sql`SELECT user_id FROM users WHERE name = ${secret}`) rows.push(row)
    })
    root.end()
    await db.close()
    expect(rows).toHaveLength(1)
    // One for the write, one for each of two shards, each with its plan and its shard.
    const collected = await traceOf(root.spanContext().traceId, 9)
    const spans = [...exporter.getFinishedSpans().map(own), ...collected]
    const tree = treeOf(spans, ({ attributes }) => {
      const shard = attributes['fleetshard.shard.id']
      return typeof shard === 'string' ? ` @${shard}` : ''
    })
    process.stdout.write(`${tree}\n`)
    const shape = tree.replaceAll(/@\S+/g, '@shard').split('\n')
    const part = (name: string): string[] => [
      `  client ${name} default @shard`,
      '    fleetshard-router POST /v1/execute',
      '      fleetshard-router plan',
      '      fleetshard-router shard @shard',
    ]
    expect(shape[0]).toBe('client all users')
    expect(shape.slice(1, 5)).toEqual(part('INSERT'))
    expect(shape.filter((line) => line.endsWith('router plan'))).toHaveLength(3)
    const shards = collected.filter(({ name }) => name === 'shard')
    expect(new Set(shards.map(({ attributes }) => attributes['fleetshard.shard.id'])).size).toBe(2)
    // A child lies inside of its parent.
    for (const span of collected) {
      const parent = collected.find(({ spanId }) => spanId === span.parentSpanId)
      if (parent === undefined) continue
      expect(span.startNs).toBeGreaterThanOrEqual(parent.startNs - 1_000_000n)
      expect(span.endNs).toBeLessThanOrEqual(parent.endNs + 1_000_000n)
    }
  } finally {
    trace.disable()
    otel.disable()
    propagation.disable()
  }
})

test('the Postgres port goes on with the trace that a comment of sqlcommenter names', async () => {
  const client = new Client({
    host: '127.0.0.1',
    port: cluster.state.ports['router.wire-port'] ?? 0,
    user: 'me',
    database: 'default',
  })
  await client.connect()
  const [plain, prepared, failing] = [newTrace(), newTrace(), newTrace()]
  await client.query(
    `SELECT name FROM users WHERE user_id = '${secret}' /*app='x',traceparent='${plain.traceparent}'*/`,
  )
  await client.query({
    text: `/*traceparent='${prepared.traceparent}'*/ SELECT name FROM users WHERE user_id = $1`,
    values: [secret],
  })
  await expect(
    client.query(`SELECT 1/0 FROM users WHERE user_id = 'u1' /*traceparent='${failing.traceparent}'*/`),
  ).rejects.toThrow('zero')
  await client.end()
  for (const { traceId } of [plain, prepared]) {
    expect(treeOf(await traceOf(traceId, 3))).toBe(
      ['fleetshard-router wire', '  fleetshard-router plan', '  fleetshard-router shard'].join('\n'),
    )
  }
  const failed = await traceOf(failing.traceId, 3)
  expect(treeOf(failed)).toContain('fleetshard-router wire !')
  expect(failed.find(({ name }) => name === 'wire')?.attributes['db.response.status_code']).toBe('22012')
})

test('the shard is told of the span that waits for it, unless nobody records that', async () => {
  const query = `SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()`
  const wire = new Client({
    host: '127.0.0.1',
    port: cluster.state.ports['router.wire-port'] ?? 0,
    user: 'me',
    database: 'default',
  })
  await wire.connect()
  const [http, prepared, quiet] = [newTrace(), newTrace(), newTrace()]
  const notRecorded = quiet.traceparent.replace(/01$/, '00')
  const overHttp = async (traceparent: string): Promise<string> => {
    const answer = await cluster.router('POST', '/v1/execute', { shard_key: 'u1', query }, { traceparent })
    return String((answer.body as unknown as { rows: { query: string }[] }).rows[0]?.query)
  }
  await wire.query(`SET fleetshard.shard_key = 'u1'`)
  const overWire = async (traceparent: string): Promise<string> => {
    const text = `${query} /*traceparent='${traceparent}'*/`
    return String(
      (await wire.query<{ query: string }>({ text, name: `q${traceparent.slice(3, 20)}` })).rows[0]?.query,
    )
  }
  const shown = [await overHttp(http.traceparent), await overWire(prepared.traceparent)]
  expect(await overHttp(notRecorded)).toBe(query)
  expect(await overWire(notRecorded)).toBe(`${query} /*traceparent='${notRecorded}'*/`)
  await wire.end()
  for (const [index, { traceId }] of [http, prepared].entries()) {
    const spans = await traceOf(traceId, 3)
    const shard = spans.find(({ name }) => name === 'shard')
    expect(shown[index]).toBe(`${query} /*traceparent='00-${traceId}-${shard?.spanId ?? ''}-01'*/`)
  }
})

test('the command line prints the trace of one statement over all shards as a tree', async () => {
  const asked = ['sql', 'SELECT user_id FROM users', '--all-shards', '--trace'] as const
  const printed = await cluster.cli(...asked)
  process.stdout.write(printed.out)
  const part = ['request 1 row', 'router POST /v1/execute', 'plan', 'shard shard on node']
  const lines = printed.out
    .replaceAll(/ +[\d.]+ ms/g, '')
    .replaceAll(/shard-0\d on \S+/g, 'shard on node')
    .replaceAll(/\d+ rows?/g, '1 row')
    .split('\n')
    .map((line) =>
      line
        .replace(/^[│├└─ ]+/, '')
        .replaceAll(/ +/g, ' ')
        .trim(),
    )
  expect(lines).toEqual([
    expect.stringMatching(/^trace [0-9a-f]{32}$/),
    'client',
    'map',
    ...part,
    ...part,
    '',
  ])
  expect(new Set(printed.out.match(/shard-0\d on/g)).size).toBe(2)
  // The collector has the same spans, under the same ids.
  const { trace_id: traceId, root } = JSON.parse((await cluster.cli(...asked, '-o', 'json')).out) as ToldTrace
  const ids = (span: TracedSpan): readonly string[] => [span.span_id, ...span.children.flatMap(ids)]
  const sent = (await traceOf(traceId, 6)).map(({ spanId }) => spanId)
  const told = root.children.flatMap(({ children }) => children.flatMap(ids))
  expect(sent.toSorted()).toEqual(told.toSorted())
})

test('an error tells the trace by which it is found', async () => {
  const answer = await cluster.execute({ shard_key: 'u1', query: 'SELECT 1/0' })
  const { trace_id: traceId } = answer.body as unknown as { trace_id: string }
  expect(treeOf(await traceOf(traceId, 3))).toBe(
    ['fleetshard-router POST /v1/execute !', '  fleetshard-router plan', '  fleetshard-router shard !'].join(
      '\n',
    ),
  )
})

test('a switchover is a trace with a span for each of its states', async () => {
  const { traceId, traceparent } = newTrace()
  const { shards } = (await cluster.manager<{ shards: { id: string }[] }>('GET', '/api/v1/shards')).body
  const id = shards[0]?.id ?? ''
  const answer = await cluster.manager(
    'POST',
    `/api/v1/shards/${id}/promote`,
    { reason: 'a test of traces' },
    { traceparent },
  )
  expect(answer.status).toBe(202)
  const spans = await until('the switchover is told of', () => {
    const found = collector.spans.filter((span) => span.traceId === traceId)
    const names = new Set(found.map(({ name }) => name))
    return names.has('switchover') && names.has('POST /api/v1/shards/:id/promote') ? found : undefined
  })
  const tree = treeOf(spans)
  expect(tree.split('\n').slice(0, 2)).toEqual([
    'fleetshard-manager POST /api/v1/shards/:id/promote',
    '  fleetshard-manager switchover',
  ])
  for (const state of ['fencing', 'electing', 'promoting', 'verifying'])
    expect(tree).toContain(`    fleetshard-manager ${state}`)
})

test('and is found by its events in the log, and counted', async () => {
  const promoted = eventsOf(cluster, 'shard_promoted')
  expect(promoted).toMatchObject([
    { term: expect.any(Number) as number, epoch: expect.any(Number) as number },
  ])
  const { job, shard, from, to } = promoted[0] ?? {}
  expect(from).not.toBe(to)
  expect(eventsOf(cluster, 'failover_state').every((line) => line['shard'] === shard)).toBe(true)
  const ended = await until('it has ended', () => eventsOf(cluster, 'failover_ended')[0])
  expect(ended).toMatchObject({ job, state: 'healthy' })
  const metrics = await readText(`${cluster.state.urls.managerMetrics}/metrics`)
  expect(metrics).toContain('fleetshard_failovers_total{kind="switchover",state="healthy"} 1\n')
  expect(metrics).toContain('fleetshard_failover_duration_seconds_count{kind="switchover"} 1\n')
})

test('the endpoint is told who asks, and nothing of values', () => {
  expect([...collector.authorizations]).toEqual([`Bearer ${secret}`])
  expect(collector.bodies.join('\n')).not.toContain(secret)
  expect(readFileSync(`${cluster.dataDir}/fleetshard.log`, 'utf8')).not.toContain(secret)
})
