// The spans of a request in its answer, from a router that traces nothing else: who asks is told, and nobody else.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AnsweredSpan } from '@fleetshard/core/contract'
import { testTable } from '@fleetshard/routing/testing'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from './testing.ts'

const traceId = '0af7651916cd43dd8448eb211c80319c'
const asks = { traceparent: `00-${traceId}-b7ad6b7169203331-01`, 'x-fleetshard-trace': 'spans' }
const query = `select query as sent from pg_stat_activity where pid = pg_backend_pid()`
let server: TestPostgres
let router: TestRouter
beforeAll(async () => {
  server = await startTestPostgres(postgresBuilds()[0]!)
  router = await startTestRouter(server, {
    shards: 2,
    tables: [testTable('public.users')],
    schema: 'create table users (user_id text primary key, n int default 0)',
  })
})
afterAll(async () => {
  await router[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const send = (headers: Readonly<Record<string, string>>, more = {}): Promise<Response> =>
  fetch(`${router.url}/v1/execute`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ query, shard_key: 'u1', options: { keyspace: 'app' }, ...more }),
  })

interface Body {
  readonly rows: readonly { readonly sent: string }[]
  readonly shard_id: string
  readonly node: string
  readonly spans?: readonly AnsweredSpan[]
}

test('who asks gets them, and the shard is told of the one that waits for it', async () => {
  const { rows, spans = [], shard_id: shard, node } = (await (await send(asks)).json()) as Body
  const [root, plan, ran] = spans
  expect(spans.map(({ name }) => name)).toEqual(['POST /v1/execute', 'plan', 'shard'])
  expect(root).toMatchObject({ parent_span_id: 'b7ad6b7169203331', start_ms: 0, error: null })
  expect([plan?.parent_span_id, ran?.parent_span_id]).toEqual([root?.span_id, root?.span_id])
  expect(ran?.attributes).toMatchObject({ 'fleetshard.shard.id': shard, 'fleetshard.node.id': node })
  for (const { start_ms: start, duration_ms: duration } of [plan!, ran!])
    expect(start >= 0 && duration >= 0 && start + duration <= root!.duration_ms + 0.01).toBe(true)
  expect(rows[0]?.sent).toBe(`${query} /*traceparent='00-${traceId}-${ran?.span_id ?? ''}-01'*/`)
})

test('nobody else does', async () => {
  const { rows, ...body } = (await (await send({ traceparent: asks.traceparent })).json()) as Body
  expect(body).not.toHaveProperty('spans')
  expect(rows[0]?.sent).toBe(query)
})

test('streams end with them', async () => {
  const answer = await send({ ...asks, accept: 'application/x-ndjson' })
  const last = (await answer.text()).trimEnd().split('\n').at(-1) ?? ''
  expect((JSON.parse(last) as { end: Body }).end.spans?.map(({ name }) => name)).toEqual([
    'POST /v1/execute',
    'plan',
    'shard',
  ])
})

test('they hold nothing of values', async () => {
  const answer = await send(asks, {
    query: `select n from users where user_id = 'u1' and 'hunter2' <> $1`,
    params: ['hunter2'],
  })
  const { spans } = (await answer.json()) as Body
  expect(spans).toHaveLength(3)
  expect(JSON.stringify(spans)).not.toContain('hunter2')
})
