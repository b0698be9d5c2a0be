// Spans of OpenTelemetry, recorded by its own SDK: what they say, whose children they are, what a router hears.
import { context as otel, propagation, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type ReadableSpan,
} from '@opentelemetry/sdk-trace-base'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { FleetShard } from '@fleetshard/client'
import type { ConformanceContext } from './conformance.ts'
import { startContext } from './context.ts'
import { failureOf } from './failure.ts'

const exporter = new InMemorySpanExporter()
const headersSent: string[] = []

/** Tells what a request says of its trace. */
const listening: typeof fetch = (input, init) => {
  const header = new Headers(init?.headers).get('traceparent')
  if (header !== null) headersSent.push(header)
  return fetch(input, init)
}

let context: ConformanceContext & AsyncDisposable
beforeAll(async () => {
  context = await startContext('direct')
  const manager = new AsyncLocalStorageContextManager()
  otel.setGlobalContextManager(manager.enable())
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
})
afterEach(() => {
  exporter.reset()
  headersSent.length = 0
})
afterAll(async () => {
  trace.disable()
  otel.disable()
  propagation.disable()
  await context[Symbol.asyncDispose]()
})

const said = ({ name, attributes, status }: ReadableSpan) => ({ name, code: status.code, ...attributes })

describe.each(['http', 'direct'] as const)('in %s mode', (mode) => {
  let db: FleetShard
  beforeAll(async () => {
    db = await context.connect({ mode })
  })
  afterAll(() => db.close())

  it('makes a span of every statement, without its text', async () => {
    const { shardId, node } = await db.shard('traced')
      .sql`/* who */ select ${'secret'}::text as a, 'literal' as b`.result()
    const [span] = exporter.getFinishedSpans()
    expect(said(span!)).toEqual({
      name: 'SELECT app',
      code: 0,
      'db.system.name': 'postgresql',
      'db.namespace': 'app',
      'db.operation.name': 'SELECT',
      'db.response.returned_rows': 1,
      'fleetshard.mode': mode,
      'fleetshard.shard.id': shardId,
      'fleetshard.node.id': node,
    })
    expect(JSON.stringify(said(span!))).not.toMatch(/secret|literal/)
  })

  it('says how a statement failed', async () => {
    await failureOf(db.sql`select 1/0`)
    const [span] = exporter.getFinishedSpans()
    expect(said(span!)).toMatchObject({
      code: 2,
      'error.type': 'sql_error',
      'db.response.status_code': '22012',
      'fleetshard.outcome': 'aborted',
    })
  })

  it('puts the statements of a transaction below it, and it below the span at hand', async () => {
    const outer = trace.getTracer('test').startSpan('outer')
    await otel.with(trace.setSpan(otel.active(), outer), async () => {
      await db.shard('traced').transaction(async (tx) => {
        await tx.sql`insert into notes (user_id) values ('traced')`
      })
    })
    outer.end()
    const [insert, transaction] = exporter.getFinishedSpans()
    expect([insert?.name, transaction?.name]).toEqual(['INSERT app', 'TRANSACTION app'])
    expect(insert?.parentSpanContext?.spanId).toBe(transaction?.spanContext().spanId)
    expect(transaction?.parentSpanContext?.spanId).toBe(outer.spanContext().spanId)
    expect(transaction?.attributes['fleetshard.outcome']).toBe('committed')
    await expect(db.shard('traced').transaction(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(exporter.getFinishedSpans().at(-1)?.attributes['fleetshard.outcome']).toBe('aborted')
  })

  it('ends the span of a stream that its reader leaves', async () => {
    for await (const _row of db.shard('traced').sql`select n from generate_series(1, 100000) n`) break
    const [span] = exporter.getFinishedSpans()
    expect(said(span!)).toMatchObject({ name: 'SELECT app', code: 0 })
  })
})

it('tells the router of its span', async () => {
  await using db = await context.connect({ mode: 'http', fetch: listening })
  await db.shard('traced').sql`select 1`
  const [span] = exporter.getFinishedSpans()
  const { traceId, spanId } = span!.spanContext()
  expect(headersSent).toEqual([`00-${traceId}-${spanId}-01`])
})

it('records nothing while no SDK does', async () => {
  trace.disable()
  await context.db.sql`select 1`
  expect(exporter.getFinishedSpans()).toEqual([])
})
