// Direct mode where one shard cannot be reached: its statements go through the router, the others do not, and nothing
// that may have happened is sent again.
import type { ConnectOptions, FleetShard } from '@fleetshard/client'
import { parseShardId } from '@fleetshard/core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { until } from '../e2e/harness/until.ts'
import type { ConformanceContext } from './conformance.ts'
import { startContext } from './context.ts'
import { failureOf } from './failure.ts'
import { fetchBehind, Gate } from './gate.ts'

let context: ConformanceContext & AsyncDisposable
let gate: Gate
/** A shard behind the gate and one that is not, each with a key. */
let behind: { readonly id: string; readonly key: string }
let before: { readonly id: string; readonly key: string }
beforeAll(async () => {
  context = await startContext('direct')
  const [first, second] = context.db.shards()
  const keyOn = (id: string): string => {
    for (let n = 0; ; n += 1) {
      if (context.db.shardFor(`key-${String(n)}`).shardId === id) return `key-${String(n)}`
    }
  }
  behind = { id: first!.id, key: keyOn(first!.id) }
  before = { id: second!.id, key: keyOn(second!.id) }
})
afterAll(() => context[Symbol.asyncDispose]())
beforeEach(async () => {
  const { router } = context
  const node = router.snapshot().shards.find(({ id }) => id === behind.id)?.nodes[0]
  gate = new Gate(node!)
  await gate.open()
  for (const { id } of context.db.shards()) await router.onShard(parseShardId(id), 'delete from notes')
})
afterEach(() => gate.shut())

const client = (options: Partial<ConnectOptions> = {}): Promise<FleetShard> =>
  context.connect({
    fetch: fetchBehind(gate, context.router.database(parseShardId(behind.id))),
    fallback: true,
    ...options,
  })

/** Whose connection a statement runs on: servers are told by application name. */
async function wayTo(db: FleetShard, key: string): Promise<'direct' | 'router'> {
  const [row] = await db.shard(key).sql<{ name: string }>`select current_setting('application_name') as name`
  return row?.name.includes('client-') === true ? 'direct' : 'router'
}

const notes = async (): Promise<string | null | undefined> =>
  (await context.router.rowsIn(parseShardId(behind.id), 'select count(*) from notes'))[0]?.[0]

it('sends the statements of that shard alone through the router, and says why', async () => {
  await gate.shut()
  await using db = await client()
  expect(db.mode).toBe('direct')
  expect([await wayTo(db, behind.key), await wayTo(db, before.key)]).toEqual(['router', 'direct'])
  expect(db.fallback).toMatchObject({ code: 'shard_unavailable', facts: { shard_id: behind.id } })

  const written = await db.sql`insert into notes (user_id) values (${behind.key})`.result()
  expect([written.rowCount, written.shardId]).toEqual([1, behind.id])
  await db.shard(behind.key).transaction(async (tx) => {
    await tx.sql`insert into notes (user_id) values (${behind.key})`
  })
  let streamed = 0
  for await (const _row of db.shard(behind.key).sql`select user_id from notes`) streamed += 1
  expect(streamed).toBe(2)
  expect(await db.all().sql`select 1 from notes`).toHaveLength(2)
  expect(await notes()).toBe('2')
})

it('goes straight to the shard again as soon as it can be reached', async () => {
  await using db = await client()
  expect(await wayTo(db, behind.key)).toBe('direct')
  await gate.shut()
  expect(await wayTo(db, behind.key)).toBe('router')
  await gate.open()
  await until('the shard is reached', async () => (await wayTo(db, behind.key)) === 'direct')
  expect(db.fallback).toBeNull()
})

it('does not send a write again that may have happened', async () => {
  await using db = await client()
  const write = () => db.query('insert into notes (user_id) values ($1)', [behind.key])
  // The first one prepares it on the connection that the second one takes.
  await write()
  gate.swallowAnswers()
  const writing = failureOf(write())
  await until('the write has happened', async () => (await notes()) === '2')
  await gate.shut()
  expect(await writing).toMatchObject({ code: 'outcome_unknown', outcome: 'unknown' })
  expect(await notes()).toBe('2')
})

it('hears by the router what became of a write under a key', async () => {
  await using db = await client()
  expect(await wayTo(db, behind.key)).toBe('direct')
  const options = { idempotencyKey: 'once' }
  const write = () => db.query('insert into notes (user_id) values ($1)', [behind.key], options)
  await write()
  await gate.shut()
  const again = await write()
  expect([again.rowCount, again.replayed]).toEqual([1, true])
  expect(await notes()).toBe('1')
})

it('fails instead where it may not', async () => {
  await using db = await client({ fallback: false })
  expect(await wayTo(db, behind.key)).toBe('direct')
  await gate.shut()
  const error = await failureOf(db.shard(behind.key).sql`select 1`)
  expect(error).toMatchObject({ code: 'shard_unavailable', outcome: 'aborted' })
  expect(db.fallback).toBeNull()
})

it('gives neither way more time than the call has', async () => {
  await gate.shut()
  await using db = await client()
  const begun = performance.now()
  const call = db.shard(behind.key).query('select pg_sleep(60)', [], { timeoutMs: 3_000 })
  expect(await failureOf(call)).toMatchObject({ code: 'deadline_exceeded', outcome: 'aborted' })
  expect(performance.now() - begun).toBeLessThan(20_000)
})
