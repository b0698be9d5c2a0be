// Reshard jobs on real servers: what is moved and what is refused, what ends a job and what it leaves behind. The
// numbers in brackets are the invariants of SPEC.md.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FleetError, type JobRecord } from '@fleetshard/core'
import type { Catalog } from '../../catalog/mod.ts'
import { startVersion, testVersions } from '../../engine/postgres/testing.ts'
import { makeFleet, type TestFleet } from './testing.ts'

const usersDdl = `
  create table users (id bigint primary key, user_id text not null, name text, email text unique, n int default 0);
  create index users_by_name on users (name)`
const users = ['public.users', { column: 'user_id', type: 'text' }] as const
const testMsMax = 120_000

const fillUsers = `
  insert into users select i, 'user-' || i, 'name', 'mail-' || i from generate_series(1, 2000) i`

describe.each(testVersions)('a reshard job on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  beforeAll(async () => {
    server = await startVersion(version)
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const split = async (ddl = usersDdl): Promise<TestFleet> => {
    const fleet = await makeFleet(server, { sources: ['a'], targets: ['b', 'c'], ddl })
    return fleet
  }
  const usersFleet = async (): Promise<TestFleet> => {
    const fleet = await split()
    await fleet.declare(...users)
    await fleet.sql('a', fillUsers)
    return fleet
  }
  const count = async (fleet: TestFleet, shard: string, table = 'users'): Promise<number> =>
    Number((await fleet.sql(shard, `select count(*)::int as n from ${table}`))[0]?.['n'])

  /** Nothing of the job is left on source and targets; the source takes writes. */
  async function expectClean(fleet: TestFleet): Promise<void> {
    for (const shard of ['a', 'b', 'c']) {
      const [left] = await fleet.sql(
        shard,
        `select (select count(*)::int from pg_replication_slots where database = current_database()) as slots,
                (select count(*)::int from pg_publication) as publications,
                (select count(*)::int from pg_trigger where tgname like '!fleetshard%') as fences,
                (select count(*)::int from pg_class where reloptions::text like '%autovacuum%') as calmed`,
      )
      expect({ shard, ...left }).toEqual({ shard, slots: 0, publications: 0, fences: 0, calmed: 0 })
      for (const table of ['runs', 'applied', 'units', 'stripped']) {
        const [found] = await fleet.sql(
          shard,
          `select to_regclass('fleetshard.reshard_${table}') is not null as is`,
        )
        if (found?.['is'] === true) expect(await count(fleet, shard, `fleetshard.reshard_${table}`)).toBe(0)
      }
    }
  }

  /** The job has failed for that reason, the source serves as before, and the targets are empty and whole. */
  async function expectUndone(fleet: TestFleet, ended: JobRecord, reason: RegExp): Promise<void> {
    expect(ended).toMatchObject({ status: 'failed', errorCode: 'reshard_refused' })
    expect(ended.errorMessage).toMatch(reason)
    await expectClean(fleet)
  }

  it(
    'splits a shard, with indexes, foreign keys and triggers as they were, and leaves nothing behind (10, 12)',
    async () => {
      await using fleet = await split(`${usersDdl};
        create table orders (id bigint primary key, user_id text not null, of bigint references users (id) on delete cascade);
        create table log (id bigint primary key, user_id text not null);
        create function note() returns trigger language plpgsql as
          $$ begin insert into log values (new.id, new.user_id); return new; end $$;
        create trigger note after insert on orders for each row execute function note()`)
      for (const table of ['users', 'orders', 'log'])
        await fleet.declare(`public.${table}`, { column: 'user_id', type: 'text' })
      await fleet.sql('a', fillUsers)
      await fleet.sql('a', `insert into orders select i, 'user-' || i, i from generate_series(1, 900) i`)
      const ended = await fleet.finish(await fleet.submit({ kind: 'split' }))
      expect(ended).toMatchObject({ status: 'completed', errorMessage: null })
      const { detail } = await fleet.job(ended)
      expect(detail.verification).toMatchObject({ rows: 2000 + 900 + 900, differences: [] })
      // The trigger has not fired again on the targets, nor has the foreign key deleted anything.
      expect((await count(fleet, 'b', 'log')) + (await count(fleet, 'c', 'log'))).toBe(900)
      expect((await count(fleet, 'b', 'orders')) + (await count(fleet, 'c', 'orders'))).toBe(900)
      for (const shard of ['b', 'c']) {
        const [here, there] = await Promise.all([shard, 'a'].map((one) => fleet.sql(one, shapeSql)))
        expect(here).toEqual(there)
      }
      await expectClean(fleet)
    },
    testMsMax,
  )

  it(
    'brings reference tables whole to every target, changes included',
    async () => {
      await using fleet = await split(`${usersDdl}; create table country (code text primary key, name text)`)
      await fleet.declare(...users)
      await fleet.declare('public.country', null)
      await fleet.sql('a', `insert into country select 'c' || i, 'n' from generate_series(1, 1000) i`)
      const ended = await fleet.finish(await fleet.submit({ kind: 'split' }), async (name) => {
        if (name !== 'before persist copied') return
        await fleet.sql(
          'a',
          `update country set code = 'x' || code where code < 'c2'; delete from country where code = 'c3'`,
        )
      })
      expect(ended).toMatchObject({ status: 'completed', errorMessage: null })
      const rows = await Promise.all(
        ['a', 'b', 'c'].map((shard) => fleet.sql(shard, 'select * from country order by code')),
      )
      expect(rows[0]).toHaveLength(999)
      expect(rows[1]).toEqual(rows[0])
      expect(rows[2]).toEqual(rows[0])
    },
    testMsMax,
  )

  it(
    'applies one transaction larger than any batch, and a prepared one that was open all the while',
    async () => {
      await using fleet = await usersFleet()
      const client = await fleet.client('a')
      let isBegun = false
      const ended = await fleet.finish(await fleet.submit({ kind: 'split' }), async (name) => {
        if (name === 'before unit public.users 2' && !isBegun) {
          isBegun = true
          await client.query(`begin; update users set n = 7 where id <= 10; prepare transaction 'open'`)
        }
        if (name !== 'before persist copied') return
        await client.query(
          `insert into users select i, 'user-' || i, 'large' from generate_series(10001, 45000) i`,
        )
        await client.query(`commit prepared 'open'`)
      })
      expect(ended).toMatchObject({ status: 'completed', errorMessage: null })
      expect((await count(fleet, 'b')) + (await count(fleet, 'c'))).toBe(37_000)
      const touched = await Promise.all(
        ['b', 'c'].map((shard) => fleet.sql(shard, 'select id from users where n = 7')),
      )
      expect(touched.flat()).toHaveLength(10)
    },
    testMsMax,
  )

  it.each([
    { what: 'a TRUNCATE', sql: 'truncate users', reason: /truncated/ },
    {
      what: 'another column',
      sql: `alter table users add column extra int; update users set n = 1`,
      reason: /columns|changed/,
    },
    {
      what: 'a column less',
      sql: `alter table users drop column name; update users set n = 1`,
      reason: /columns|changed/,
    },
    {
      what: 'a column of another type',
      sql: `alter table users alter column n type bigint`,
      reason: /changed/,
    },
  ])(
    'ends by $what while rows are copied, and gives everything back',
    async ({ sql, reason }) => {
      await using fleet = await usersFleet()
      let isDone = false
      const ended = await fleet.finish(await fleet.submit({ kind: 'split' }), async (name) => {
        if (name !== 'before persist copied' || isDone) return
        isDone = true
        await fleet.sql('a', sql)
      })
      await expectUndone(fleet, ended, reason)
      expect([await count(fleet, 'b'), await count(fleet, 'c')]).toEqual([0, 0])
      const [shape] = await fleet.sql(
        'b',
        `select count(*)::int as n from pg_indexes where tablename = 'users'`,
      )
      expect(shape?.['n']).toBe(3)
      await fleet.sql('a', `insert into users (id, user_id) values (999999, 'user-x')`)
    },
    testMsMax,
  )

  it(
    'finds a row that was changed, one that is gone, one too many and one in the wrong place, and cannot cut over (6)',
    async () => {
      await using fleet = await usersFleet()
      let isDone = false
      const ended = await fleet.finish(await fleet.submit({ kind: 'split' }), async (name) => {
        if (name !== 'before persist caught_up' || isDone) return
        isDone = true
        await fleet.sql('b', `update users set name = 'corrupted' where id = (select min(id) from users)`)
        await fleet.sql('b', `delete from users where id = (select max(id) from users)`)
        const [moved] = await fleet.sql(
          'b',
          'delete from users where id = (select max(id) from users) returning id, user_id, name, email',
        )
        await fleet.sql('c', 'insert into users values ($1, $2, $3, $4)', Object.values(moved ?? {}))
        await fleet.sql('c', `insert into users values (777777, 'nobody')`)
      })
      await expectUndone(fleet, ended, /differs from the source/)
      const { differences } = (await fleet.job(ended)).detail.verification ?? { differences: [] }
      expect(differences.filter((text) => text.includes('the row with the key'))).toHaveLength(3)
      expect(differences.filter((text) => text.includes('does not own its key')).length).toBeGreaterThan(0)
    },
    testMsMax,
  )

  it(
    'stops for good when its slot is gone, and never makes another in its place',
    async () => {
      await using fleet = await usersFleet()
      const job = await fleet.submit({ kind: 'split' })
      await expect(
        fleet.runOnce(job, (name) => {
          if (name === 'before unit public.users 2') throw new Error('the worker dies')
        }),
      ).resolves.toMatchObject({ kind: 'waiting' })
      // The server notices a moment later that nobody reads the slot any more.
      const slots = 'from pg_replication_slots where database = current_database()'
      await expect.poll(() => fleet.sql('a', `select active ${slots}`)).toEqual([{ active: false }])
      await fleet.sql('a', `select pg_drop_replication_slot(slot_name) ${slots}`)
      await expectUndone(fleet, await fleet.finish(job), /slot of shard a is gone/)
    },
    testMsMax,
  )

  it.each(['preflight', 'copying', 'catching_up', 'verifying', 'ready'])(
    'is cancelled in %s: the source untouched, the targets empty and whole',
    async (state) => {
      await using fleet = await usersFleet()
      const job = await fleet.submit({ kind: 'split' })
      const checkpoints: Readonly<Record<string, string>> = {
        preflight: 'before persist checked',
        copying: 'before unit public.users 2',
        catching_up: 'before restore indexes',
        verifying: 'before persist verified',
        ready: 'before calm',
      }
      const ended = await fleet.finish(job, async (name) => {
        if (name !== checkpoints[state]) return
        await fleet.catalog.jobs.update(job.id, (record) => ({
          ...record,
          detail: { ...(record.detail as object), order: 'cancel' },
        }))
      })
      // In `ready` the order may come too late for the state, and is met by the commit of the hold.
      expect(ended).toMatchObject({ status: 'cancelled', errorCode: null })
      expect([await count(fleet, 'b'), await count(fleet, 'c')]).toEqual([0, 0])
      expect(await count(fleet, 'a')).toBe(2000)
      await expectClean(fleet)
    },
    testMsMax,
  )

  it(
    'waits for a writer at the fence, releases the hold meanwhile, and succeeds when the writer has gone (8, 9)',
    async () => {
      await using fleet = await usersFleet()
      const client = await fleet.client('a')
      await client.query(`begin`)
      const job = await fleet.submit({ kind: 'split' })
      const progress = await fleet.runOnce(job, async (name) => {
        if (name === 'before hold') await client.query('update users set n = 1 where id = 1')
      })
      expect(progress).toMatchObject({
        kind: 'waiting',
        reason: expect.stringMatching(/a writer holds a table/) as string,
      })
      const between = await fleet.job(job)
      expect(between.record.state).toBe('catching_up')
      expect(between.detail.attempt).toBe(1)
      await fleet.sql('a', 'update users set n = 2 where id = 2')
      await client.query('commit')
      expect(await fleet.finish(job)).toMatchObject({ status: 'completed', errorMessage: null })
      expect((await fleet.job(job)).detail.attempt).toBe(2)
      await expectClean(fleet)
    },
    testMsMax,
  )

  it.each([
    'before unit public.users 2',
    'before persist copied',
    'before calm',
    'before fence',
    'after fence',
  ])(
    'survives a crash of all its servers %s (1, 3, 4)',
    async (when) => {
      await using fleet = await usersFleet()
      const { host, port } = server
      let isDone = false
      const ended = await fleet.finish(await fleet.submit({ kind: 'split' }), async (name) => {
        if (name !== when || isDone) return
        isDone = true
        await fleet.sql('a', `update users set n = n + 1 where id % 3 = 0`).catch(() => undefined)
        await server.stop('kill')
        await server.start()
      })
      expect(isDone).toBe(true)
      // It comes back where it was, as a supervised server does.
      expect(server).toMatchObject({ host, port })
      expect(ended).toMatchObject({ status: 'completed', errorMessage: null })
      await using after = fleet.reopened()
      const rows = await Promise.all(['b', 'c'].map((shard) => after.sql(shard, 'select id, n from users')))
      const [source] = await after.sql('a', 'select count(*)::int as rows, sum(n)::int as n from users')
      expect({
        rows: rows.flat().length,
        n: rows.flat().reduce((sum, { n }) => sum + Number(n), 0),
      }).toEqual(source)
    },
    testMsMax,
  )

  it(
    'leaves autovacuum as the user had set it',
    async () => {
      await using fleet = await usersFleet()
      await fleet.sql('a', 'alter table users set (autovacuum_enabled = false)')
      expect(await fleet.finish(await fleet.submit({ kind: 'split' }))).toMatchObject({ status: 'completed' })
      const [row] = await fleet.sql('a', `select reloptions from pg_class where relname = 'users'`)
      expect(row).toEqual({ reloptions: ['autovacuum_enabled=false'] })
    },
    testMsMax,
  )

  it.each([
    { what: 'before the flip is taken', isTaken: false, attempts: 2 },
    { what: 'after the flip was taken, whose answer is lost', isTaken: true, attempts: 1 },
  ])(
    'finds out what became of a flip when the catalog goes away $what (8)',
    async ({ isTaken, attempts }) => {
      await using fleet = await usersFleet()
      let isFlip = false
      let isDone = false
      const changeRouting: Catalog['changeRouting'] = async (...args) => {
        if (!isFlip || isDone) return fleet.catalog.changeRouting(...args)
        isDone = true
        if (isTaken) await fleet.catalog.changeRouting(...args)
        throw new FleetError('catalog_unavailable', 'the catalog does not answer')
      }
      const job = await fleet.submit({ kind: 'split' })
      const ended = await fleet.finish(job, (name) => void (isFlip = name === 'before flip'), {
        changeRouting,
      })
      expect(isDone).toBe(true)
      expect(ended).toMatchObject({ status: 'completed', errorMessage: null })
      expect((await fleet.job(job)).detail.attempt).toBe(attempts)
      expect((await count(fleet, 'b')) + (await count(fleet, 'c'))).toBe(2000)
      await expectClean(fleet)
    },
    testMsMax,
  )

  it(
    'cannot begin to copy while a transaction is open that is older than its slot, and names it',
    async () => {
      await using fleet = await usersFleet()
      const client = await fleet.client('a')
      const job = await fleet.submit({ kind: 'split' })
      let isBegun = false
      const ended = fleet.finish(job, async (name) => {
        if (name !== 'after slot a' || isBegun) return
        isBegun = true
        await client.query('begin; update users set n = 9 where id = 3')
        setTimeout(() => void client.query('commit'), 400)
      })
      expect(await ended).toMatchObject({ status: 'completed', errorMessage: null })
      const rows = await Promise.all(
        ['b', 'c'].map((shard) => fleet.sql(shard, 'select n from users where id = 3')),
      )
      expect(rows.flat()).toEqual([{ n: 9 }])
    },
    testMsMax,
  )
})

const shapeSql = `
  select 'index' as kind, indexdef as text from pg_indexes where schemaname = 'public'
  union all select 'constraint', conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint
   where connamespace = 'public'::regnamespace and contype <> 'n'
  union all select 'trigger', pg_get_triggerdef(oid) || tgenabled::text from pg_trigger where not tgisinternal
   order by 1, 2`
