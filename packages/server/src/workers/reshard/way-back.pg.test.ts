// The reversible phase on real servers: what is written on the targets after the flip comes back to the sources, and
// what ends the phase leaves nothing behind. The numbers in brackets are the invariants of SPEC.md.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { JobRecord } from '@fleetshard/core'
import { startVersion, testVersions } from '../../engine/postgres/testing.ts'
import { parseReshardJobDetail, type ReshardJobDetail } from '../../engine/mod.ts'
import { systemClock } from '../../runtime/mod.ts'
import { recordOf, write, type Written } from './testing-writer.ts'
import { makeFleet, type TestFleet } from './testing.ts'

const testMsMax = 120_000
const hourMs = 3_600_000
const large = `repeat('x', 10), (select string_agg(md5(i::text || key), '') from generate_series(1, 100) i)`
const ddl = `
  create table t (key text primary key, version int not null, body text, large text);
  create index on t (version);
  create table child (key text, id bigint, of text references t (key) on delete cascade, primary key (key, id));
  create table log (key text, id bigint generated always as identity, primary key (key, id));
  create table country (code text primary key, name text);
  create function note() returns trigger language plpgsql as
    $$ begin insert into log (key) values (new.key); return new; end $$;
  create trigger note after insert on child for each row execute function note();
  alter table child enable always trigger note`
const byKey = { column: 'key', type: 'text' } as const

describe.each(testVersions)('a reversible job on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  beforeAll(async () => {
    server = await startVersion(version)
  })
  afterAll(() => server[Symbol.asyncDispose]())

  async function fleetOf(
    sources: readonly string[],
    targets: readonly string[],
    throttleBounds: Parameters<typeof makeFleet>[1]['throttleBounds'] = {},
  ): Promise<TestFleet> {
    const fleet = await makeFleet(server, { sources, targets, ddl, throttleBounds })
    for (const table of ['t', 'child', 'log']) await fleet.declare(`public.${table}`, byKey)
    await fleet.declare('public.country', null)
    await fleet.rememberKeys()
    for (const shard of sources) {
      const keys = []
      for (let index = 0; index < 1200; index += 1) {
        const key = `key-${String(index)}`
        if ((await owners(fleet))(key) === shard) keys.push(key)
      }
      await fleet.sql(shard, `insert into t select key, 1, ${large} from unnest($1::text[]) key`, [keys])
      await fleet.sql(shard, `insert into child select key, 1, key from t where key < 'key-5'`)
      await fleet.sql(shard, `insert into country select 'c' || i, 'n' from generate_series(1, 20) i`)
    }
    return fleet
  }

  const owners = async (fleet: TestFleet): Promise<(key: string) => string> => {
    const map = await fleet.map()
    return (key) => map.shardFor(key as Parameters<typeof map.shardFor>[0], 'text').id
  }

  /** Runs the job in the background, while `work` looks at it. */
  async function during(
    fleet: TestFleet,
    job: JobRecord,
    work: () => Promise<void>,
    checkpoint?: (name: string) => Promise<void>,
  ): Promise<JobRecord> {
    const finished = fleet.finish(job, checkpoint)
    finished.catch(() => undefined) // met below
    await Promise.race([work(), finished.then(() => Promise.reject(new Error('the job ended too early')))])
    return finished
  }

  async function reached(fleet: TestFleet, job: JobRecord, state: string): Promise<void> {
    while ((await fleet.job(job)).record.state !== state) await systemClock.sleep(20)
  }

  const order = (fleet: TestFleet, job: JobRecord, wanted: ReshardJobDetail['order']) =>
    fleet.catalog.jobs.update(job.id, (found) => ({
      ...found,
      detail: { ...parseReshardJobDetail(found.detail), order: wanted },
    }))

  /** All rows of a table of some shards, in order. */
  async function rowsOf(fleet: TestFleet, shards: readonly string[], table: string): Promise<unknown[]> {
    const lists = await Promise.all(shards.map((shard) => fleet.sql(shard, `select * from ${table}`)))
    return lists.flat().sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
  }

  async function expectClean(fleet: TestFleet, shards: readonly string[]): Promise<void> {
    for (const shard of shards) {
      const [left] = await fleet.sql(
        shard,
        `select (select count(*)::int from pg_replication_slots where database = current_database()) as slots,
                (select count(*)::int from pg_publication) as publications,
                (select count(*)::int from pg_subscription where subdbid =
                  (select oid from pg_database where datname = current_database())) as subscriptions,
                (select count(*)::int from pg_trigger where tgname like '!fleetshard%') as fences,
                (select string_agg(tgname || tgenabled::text, ',') from pg_trigger where not tgisinternal) as triggers,
                (select count(*)::int from pg_constraint where contype = 'f') as keys,
                (select count(*)::int from pg_class where reloptions::text like '%autovacuum%') as calmed`,
      )
      const whole = {
        slots: 0,
        publications: 0,
        subscriptions: 0,
        fences: 0,
        triggers: 'noteA',
        keys: 1,
        calmed: 0,
      }
      expect({ shard, ...left }).toEqual({ shard, ...whole })
      for (const table of ['runs', 'applied', 'units', 'stripped', 'lifted']) {
        const rows = await fleet.sql(shard, `select * from fleetshard.reshard_${table}`)
        expect({ shard, table, rows }).toEqual({ shard, table, rows: [] })
      }
    }
  }

  /** Inserts, updates, deletes, changes of keys, large values left alone, foreign keys and triggers, on every shard. */
  async function writeSome(fleet: TestFleet, shards: readonly string[]): Promise<void> {
    const owner = await owners(fleet)
    for (const shard of shards) {
      const fresh = Array.from({ length: 300 }, (_, index) => `new-${String(index)}`).filter(
        (key) => owner(key) === shard,
      )
      await fleet.sql(shard, `insert into t select key, 1, ${large} from unnest($1::text[]) key`, [fresh])
      await fleet.sql(shard, `insert into child select key, 2, key from unnest($1::text[]) key`, [fresh])
      await fleet.sql(shard, `update t set version = version + 1 where key like '%3'`)
      await fleet.sql(shard, `delete from t where key like '%7'`)
      await fleet.sql(shard, `update child set id = id + 10 where key like '%1'`)
      // The same primary key may go to another row of the shard: a new key that this shard owns.
      const renamed = Array.from({ length: 2000 }, (_, index) => `moved-${String(index)}`).find(
        (key) => owner(key) === shard,
      )
      await fleet.sql(
        shard,
        `update t set key = $1 where key = (select min(key) from t where key like 'key-%5' and key >= 'key-5')`,
        [renamed],
      )
      await fleet.sql(shard, `insert into country values ('new', 'n')`)
      await fleet.sql(shard, `update country set code = 'x' || code where code < 'c12'`)
    }
  }

  const cases = [
    { name: 'a split', kind: 'split', sources: ['a'], targets: ['b', 'c'] },
    { name: 'a move', kind: 'move', sources: ['a'], targets: ['b'] },
    { name: 'a merge', kind: 'merge', sources: ['a', 'b'], targets: ['c'] },
  ] as const

  it.each(cases)(
    'brings back what was written since the cutover of $name, and then it moves again (18, 19)',
    async ({ kind, sources, targets }) => {
      await using fleet = await fleetOf(sources, targets)
      const before = (await fleet.map()).snapshot.shards.map(({ id, vnodes }) => ({ id, vnodes }))
      const job = await fleet.submit({ kind, reversibleMs: hourMs })
      const expected = new Map<string, unknown[]>()
      const ended = await during(fleet, job, async () => {
        await reached(fleet, job, 'reversible')
        await writeSome(fleet, targets)
        for (const table of ['t', 'child', 'log']) expected.set(table, await rowsOf(fleet, targets, table))
        await order(fleet, job, 'reverse')
      })
      expect((await fleet.job(ended)).detail.wayBack?.lostBecause).toBe(null)
      expect(ended).toMatchObject({ state: 'rolled_back', status: 'cancelled', errorMessage: null })
      const map = await fleet.map()
      expect(map.snapshot.shards.map(({ id, vnodes }) => ({ id, vnodes }))).toEqual(before)
      for (const { id, status } of map.snapshot.shards) {
        expect({ id, status }).toEqual({
          id,
          status: (sources as readonly string[]).includes(id) ? 'active' : 'inactive',
        })
      }
      for (const [table, rows] of expected) expect(await rowsOf(fleet, sources, table)).toEqual(rows)
      const owner = await owners(fleet)
      for (const shard of sources) {
        for (const { key } of await fleet.sql(shard, 'select key from t'))
          expect(owner(String(key))).toBe(shard)
        expect(await rowsOf(fleet, [shard], 'country')).toHaveLength(21)
      }
      for (const table of ['t', 'child', 'log', 'country', 'fleetshard.idempotency'])
        expect(await rowsOf(fleet, targets, table)).toEqual([])
      await expectClean(fleet, [...sources, ...targets])
      const again = await fleet.finish(await fleet.submit({ kind }))
      expect(again).toMatchObject({ state: 'completed', errorMessage: null })
      for (const [table, rows] of expected) expect(await rowsOf(fleet, targets, table)).toEqual(rows)
    },
    testMsMax,
  )

  it.each(['complete', 'its time'])(
    'cleans everything up when the phase ends by %s',
    async (how) => {
      await using fleet = await fleetOf(['a'], ['b', 'c'])
      const job = await fleet.submit({ kind: 'split', reversibleMs: how === 'complete' ? hourMs : 500 })
      const ended = await fleet.finish(job, async (name) => {
        if (how === 'complete' && name === 'after strip a for the way back')
          await order(fleet, job, 'complete')
      })
      expect(ended).toMatchObject({ state: 'completed', errorMessage: null })
      expect((await fleet.job(ended)).detail.wayBack).toMatchObject({ lostBecause: null })
      await expectClean(fleet, ['a', 'b', 'c'])
    },
    testMsMax,
  )

  it(
    'gives the way back up when the log that it holds on a target grows too large (21)',
    async () => {
      await using fleet = await fleetOf(['a'], ['b', 'c'], { backWalBytesMax: 0 })
      const ended = await fleet.finish(await fleet.submit({ kind: 'split', reversibleMs: hourMs }))
      expect(ended).toMatchObject({ state: 'completed', errorMessage: null })
      expect((await fleet.job(ended)).detail.wayBack?.lostBecause).toMatch(/slot holds back .* of log/)
      await expectClean(fleet, ['a', 'b', 'c'])
    },
    testMsMax,
  )

  it.each([
    ['a target is truncated', 'b', 'truncate log', /was truncated/],
    ['the source refuses a row', 'a', 'alter table t add check (version < 5) not valid', /t_version_check/],
    ['a table is altered', 'b', 'alter table t add column more int', /public\.t.* changed/],
    ['a slot is lost', 'b', 'slot', /replication slot of shard b is gone/],
  ])(
    'gives the way back up when %s (21)',
    async (_, shard, sql, reason) => {
      await using fleet = await fleetOf(['a'], ['b', 'c'])
      const job = await fleet.submit({ kind: 'split', reversibleMs: hourMs })
      const ended = await fleet.finish(job, async (name) => {
        if (name !== 'after strip a for the way back') return
        const drop =
          'select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()'
        await fleet.sql(shard, sql === 'slot' ? drop : sql)
        await fleet.sql('b', `update t set version = 9 where key = (select min(key) from t)`)
      })
      expect(ended).toMatchObject({ state: 'completed', errorMessage: null })
      expect((await fleet.job(ended)).detail.wayBack?.lostBecause).toMatch(reason)
      await expectClean(fleet, ['a', 'b', 'c'])
    },
    testMsMax,
  )

  it(
    'tries again when a transaction holds the fence off, and meanwhile the targets serve (8, 9)',
    async () => {
      await using fleet = await fleetOf(['a'], ['b'])
      const job = await fleet.submit({ kind: 'move', reversibleMs: hourMs })
      const client = await fleet.client('b')
      let tries = 0
      const ended = await during(
        fleet,
        job,
        async () => {
          await reached(fleet, job, 'reversible')
          await client.query('begin; update t set version = 77')
          await order(fleet, job, 'reverse')
        },
        async (name) => {
          if (name !== 'after release back') return
          tries += 1
          await client.query('commit')
        },
      )
      expect(tries).toBe(1)
      expect(ended).toMatchObject({ state: 'rolled_back' })
      expect(await fleet.sql('a', 'select distinct version from t')).toEqual([{ version: 77 }])
      await expectClean(fleet, ['a', 'b'])
    },
    testMsMax,
  )

  it(
    'loses nothing under writers that go on all the while, back and there again (1, 2, 5, 13)',
    async () => {
      await using fleet = await fleetOf(['a'], ['b', 'c'])
      const written = new Map<string, Written>()
      const stop = new AbortController()
      const writing = ['u', 'v', 'w'].map((name) => write(fleet, name, written, stop.signal))
      for (const one of writing) one.catch(() => undefined) // met below
      const job = await fleet.submit({ kind: 'split', reversibleMs: hourMs })
      const ended = await during(fleet, job, async () => {
        await reached(fleet, job, 'reversible')
        await systemClock.sleep(300)
        await order(fleet, job, 'reverse')
      })
      expect(ended).toMatchObject({ state: 'rolled_back' })
      const again = await fleet.finish(await fleet.submit({ kind: 'split' }))
      expect(again).toMatchObject({ state: 'completed', errorMessage: null })
      stop.abort()
      await Promise.all(writing)
      const rows = await rowsOf(fleet, ['b', 'c'], 't')
      const found = new Map(
        rows.map((row) => [(row as { key: string }).key, (row as { version: number }).version]),
      )
      expect(found.size).toBe(rows.length)
      const records = await rowsOf(fleet, ['b', 'c'], 'fleetshard.idempotency')
      const remembered = new Set(records.map((row) => (row as { key: string }).key))
      for (const [key, { acknowledged, tried, versions }] of written) {
        expect(found.get(key) ?? 0).toBeGreaterThanOrEqual(acknowledged)
        expect(found.get(key) ?? 0).toBeLessThanOrEqual(tried)
        for (const one of versions) expect(remembered.has(recordOf(key, one))).toBe(true)
      }
    },
    testMsMax,
  )

  it(
    'is refused before anything is made where rows could not come back, unless it goes without (20)',
    async () => {
      await using fleet = await makeFleet(server, {
        sources: ['a'],
        targets: ['b', 'c'],
        ddl: 'create table t (id bigint primary key, key text not null)',
      })
      await fleet.declare('public.t', byKey)
      const refused = await fleet.finish(await fleet.submit({ kind: 'split', reversibleMs: hourMs }))
      expect(refused).toMatchObject({ status: 'failed', errorCode: 'reshard_refused' })
      expect(refused.errorMessage).toMatch(/unique constraint of public\.t .*--reversible-seconds/)
      expect(await fleet.finish(await fleet.submit({ kind: 'split' }))).toMatchObject({ status: 'completed' })
    },
    testMsMax,
  )
})
