// Moves that cannot be: of each kind of bad input what the job says, where it ends, and that its source has not been
// touched and serves.
import { execFileSync } from 'node:child_process'
import { chownSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseShardId, type JobRecord } from '@fleetshard/core'
import { startVersion, testVersions } from '../../engine/postgres/testing.ts'
import { makeTestFolder } from '../../local/testing.ts'
import { keyspace, makeFleet, type TestFleet } from './testing.ts'

const usersDdl = `
  create table users (id bigint primary key, user_id text not null, name text, email text unique, n int default 0);
  create index users_by_name on users (name)`
const key = { column: 'user_id', type: 'text' } as const
const rowCount = 2000
const fillUsers = `
  insert into users (id, user_id, name, email)
  select i, 'user-' || i, 'name', 'mail-' || i from generate_series(1, ${String(rowCount)}) i`
const testMsMax = 120_000

const [version] = testVersions
if (version === undefined) throw new Error('there is always the embedded server')
let server: Awaited<ReturnType<typeof startVersion>>
beforeAll(async () => {
  server = await startVersion(version)
})
afterAll(() => server[Symbol.asyncDispose]())

type Options = Partial<Parameters<typeof makeFleet>[1]>

/** A source with rows, and targets. */
async function usersFleet(options: Options = {}): Promise<TestFleet> {
  const fleet = await makeFleet(server, { sources: ['a'], targets: ['b', 'c'], ddl: usersDdl, ...options })
  await fleet.declare('public.users', key)
  for (const source of options.sources ?? ['a']) await fleet.sql(source, fillUsers)
  return fleet
}

/** Every row is there, rows can be written, the map is what it was, and nothing of a job is left. */
async function expectServing(fleet: TestFleet, shard = 'a', rows = rowCount): Promise<void> {
  const [row] = await fleet.sql(
    shard,
    `select (select count(*)::int from users) as rows,
            (select count(*)::int from pg_replication_slots where database = current_database()) as slots,
            (select count(*)::int from pg_publication) as publications,
            (select count(*)::int from pg_trigger where tgname like '!fleetshard%') as fences`,
  )
  expect(row).toEqual({ rows, slots: 0, publications: 0, fences: 0 })
  expect(await fleet.sql(shard, 'update users set n = n + 1 where id = 1 returning id')).toHaveLength(1)
  const { snapshot } = await fleet.map()
  const found = snapshot.shards.find(({ id }) => id === shard)
  expect(found).toMatchObject({ status: 'active' })
  expect(found?.hold).toBeUndefined()
  expect(found?.vnodes).not.toBe('')
}

/** The job has failed and says what to do; the source serves. */
async function expectRefused(fleet: TestFleet, ended: JobRecord, reason: RegExp): Promise<void> {
  expect(ended).toMatchObject({ status: 'failed', state: 'failed' })
  expect(ended.errorMessage).toMatch(reason)
  await expectServing(fleet)
}

const orderCancel = (fleet: TestFleet, { id }: Pick<JobRecord, 'id'>) =>
  fleet.catalog.jobs.update(id, (record) => ({
    ...record,
    detail: { ...(record.detail as object), order: 'cancel' },
  }))

/** What the superuser says to the database of a shard. */
async function asSuperuser(fleet: TestFleet, shard: string, sql: string): Promise<void> {
  const client = await server.connect({ superuser: true, database: fleet.target(shard).database })
  await client.query(sql)
  await client.end()
}

const target = (name: string) => ({ shard: parseShardId(name), vnodeCount: 16 })

describe('unknown or overlapping shards', () => {
  const [a, unknown] = [parseShardId('a'), parseShardId('unknown')]
  it.each<{ what: string; order: Partial<Parameters<TestFleet['submit']>[0]>; reason: RegExp }>([
    {
      what: 'an unknown source',
      order: { sources: [unknown] },
      reason: /there is no shard unknown in app; see fleetshard shard list/,
    },
    {
      what: 'an unknown target',
      order: { targets: [target('unknown'), target('c')] },
      reason: /there is no shard unknown in app/,
    },
    {
      what: 'a source that is a target',
      order: { targets: [target('a'), target('c')] },
      reason: /the target a owns ranges; move to a shard that owns none/,
    },
    {
      what: 'a target named twice',
      order: { targets: [target('b'), target('b')] },
      reason: /the shard b is named twice; name every shard once/,
    },
    {
      what: 'a source named twice',
      order: { kind: 'merge', sources: [a, a], targets: [target('b')] },
      reason: /the shard a is named twice; name every shard once/,
    },
  ])('$what', async ({ order, reason }) => {
    await using fleet = await usersFleet()
    await expectRefused(fleet, await fleet.finish(await fleet.submit({ kind: 'split', ...order })), reason)
  })

  it('a target that owns ranges', async () => {
    await using fleet = await usersFleet({ sources: ['a', 'b'], targets: ['c'] })
    const order = { kind: 'move' as const, sources: [a], targets: [target('b')] }
    await expectRefused(
      fleet,
      await fleet.finish(await fleet.submit(order)),
      /the target b owns ranges; move to a shard that owns none/,
    )
  })

  it('two jobs on one shard: the second is refused, and the first goes on', async () => {
    await using fleet = await usersFleet()
    const first = await fleet.submit({ kind: 'split' })
    const second = await fleet.finish(await fleet.submit({ kind: 'split' }))
    await expectRefused(
      fleet,
      second,
      new RegExp(`the job ${first.id} works on one of these shards; wait until it has ended, or cancel it`),
    )
    expect(await fleet.finish(first)).toMatchObject({ status: 'completed' })
  })
})

describe('tables that cannot be moved', () => {
  it.each([
    { what: 'no primary key', ddl: 'create table users (user_id text)', reason: /no primary key/ },
    {
      what: 'partitioned',
      ddl: `create table users (id int, user_id text, primary key (id, user_id)) partition by hash (user_id);
            create table p partition of users for values with (modulus 1, remainder 0)`,
      reason: /partitioned/,
    },
    {
      what: 'unlogged',
      ddl: 'create unlogged table users (user_id text primary key)',
      reason: /SET LOGGED/,
    },
    {
      what: 'undeclared, with rows',
      ddl: `${usersDdl}; create table other as select 1 as a`,
      reason: /public.other holds rows and is not declared/,
    },
    { what: 'large objects', ddl: `${usersDdl}; select lo_create(0)`, reason: /large objects/ },
    {
      what: 'no replica identity',
      ddl: `${usersDdl}; alter table users replica identity nothing`,
      reason: /REPLICA IDENTITY DEFAULT/,
    },
    {
      what: 'generated columns under replica identity full',
      ddl: `${usersDdl}; alter table users add g int generated always as (n + 1) stored, replica identity full`,
      reason: /some are generated/,
    },
  ])('$what', async ({ ddl, reason }) => {
    await using fleet = await makeFleet(server, { sources: ['a'], targets: ['b', 'c'], ddl })
    await fleet.declare('public.users', key)
    const ended = await fleet.finish(await fleet.submit({ kind: 'split' }))
    expect(ended).toMatchObject({ status: 'failed', errorCode: 'reshard_refused' })
    expect(ended.errorMessage).toMatch(reason)
  })
})

describe('ids that sequences would give again', () => {
  const block = 2 ** 40
  const counting = async (fleet: TestFleet, shard: string, number: number): Promise<unknown> => {
    const first = String(number * block + 1)
    const last = String((number + 1) * block - 1)
    const bounds = `minvalue ${first} maxvalue ${last} start ${first} restart ${first}`
    return fleet.sql(shard, `alter sequence users_id_seq ${bounds}`)
  }

  it('are told, with the way out; behind their sequences they do no harm', async () => {
    const ddl = 'create table users (id bigserial primary key, user_id text not null, n int default 0)'
    await using fleet = await makeFleet(server, { sources: ['a'], targets: ['b', 'c'], ddl })
    await fleet.declare('public.users', key)
    for (const [number, shard] of ['a', 'b', 'c'].entries()) await counting(fleet, shard, number)
    await fleet.sql('a', `insert into users (user_id) select 'user-' || i from generate_series(1, 100) i`)
    await fleet.sql('a', `insert into users values (7000, 'ahead'), (${String(block + 5)}, 'of another')`)
    const ended = await fleet.finish(await fleet.submit({ kind: 'split' }))
    expect(ended).toMatchObject({ status: 'failed', errorCode: 'reshard_refused' })
    expect(ended.errorMessage).toContain('has the id 7000, which the sequence of the source would give again')
    expect(ended.errorMessage).toContain(`has the id ${String(block + 5)}, which the sequence of the target`)
    expect(ended.errorMessage).toContain("SELECT setval('public.users_id_seq', ")
    await fleet.sql('a', `select setval('users_id_seq', 7000)`)
    await fleet.sql('b', `select setval('users_id_seq', ${String(block + 5)})`)
    expect(await fleet.finish(await fleet.submit({ kind: 'split' }))).toMatchObject({ status: 'completed' })
  }, 60_000)
})

describe('targets that cannot take the rows', () => {
  it('targets that hold data, and targets whose columns are others', async () => {
    await using fleet = await usersFleet()
    await fleet.sql('b', fillUsers)
    await fleet.sql('c', 'alter table users add column extra int')
    const ended = await fleet.finish(await fleet.submit({ kind: 'split' }))
    await expectRefused(fleet, ended, /shard b: its table public.users holds rows; .*empty it: TRUNCATE/)
    expect(ended.errorMessage).toMatch(
      /shard c: its table public.users is not like the source's: column extra/,
    )
    // What was there is not the job's to remove.
    await fleet.sql('b', `select 1 / count(*) from users`)
  })

  it(
    'target disk full: the job waits and says so, ends by cancel, or goes on when there is room',
    async ({ skip }) => {
      await using disk = await smallDisk('1m')
      if (disk === null) return skip('a small file system cannot be mounted here: that takes root')
      // Of its own, and gone before its disk is.
      await using other = await startVersion(version)
      const superuser = await other.connect({ superuser: true })
      await superuser.query(`create tablespace small location '${disk.location}'`)
      await superuser.query('grant create on tablespace small to public')
      await superuser.end()
      for (const way of ['cancel', 'room'] as const) {
        await using fleet = await usersFleet({ on: { b: other } })
        const rows = 30_000
        await fleet.sql(
          'a',
          `insert into users select i, 'user-' || i, repeat('x', 100), 'mail-' || i, 0 from generate_series(${String(rowCount + 1)}, ${String(rows)}) i`,
        )
        await fleet.sql('b', 'alter table users set tablespace small')
        const job = await fleet.submit({ kind: 'split' })
        const progress = await fleet.runOnce(job)
        const full = /No space left on device.*free disk space on the server, or cancel the job/
        expect(progress).toMatchObject({ kind: 'waiting', reason: expect.stringMatching(full) as string })
        const { record, detail } = await fleet.job(job)
        expect({ status: record.status, state: record.state }).toEqual({
          status: 'running',
          state: 'copying',
        })
        expect(detail.waitsFor).toMatch(full)
        expect(await fleet.sql('a', 'update users set n = n + 1 where id = 1 returning id')).toHaveLength(1)
        if (way === 'cancel') {
          await orderCancel(fleet, job)
          // Emptying a table takes a few pages before it gives any back: only that waits for room.
          expect(await fleet.runOnce(job)).toMatchObject({
            kind: 'waiting',
            reason: expect.stringMatching(/No space left on device; free disk space on the server/) as string,
          })
          await expectServing(fleet, 'a', rows)
        }
        disk.resize('64m')
        expect(await fleet.finish(job)).toMatchObject({
          status: way === 'cancel' ? 'cancelled' : 'completed',
        })
        if (way === 'room') return
        expect(await fleet.sql('b', 'select count(*)::int as n from users')).toEqual([{ n: 0 }])
        disk.resize('1m')
      }
    },
    testMsMax,
  )
})

/** A file system of that size with a folder of the server user's; null where none can be mounted. */
async function smallDisk(
  size: string,
): Promise<(AsyncDisposable & { readonly location: string; resize(size: string): void }) | null> {
  const folder = await makeTestFolder()
  const mount = (options: string): void => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder], { stdio: 'ignore' })
  }
  try {
    mount(`size=${size}`)
  } catch {
    rmSync(folder, { recursive: true })
    return null
  }
  const location = join(folder, 'rows')
  mkdirSync(location)
  const { uid, gid } = statSync(server.socketDir)
  chownSync(location, uid, gid)
  return {
    location,
    resize: (to) => {
      mount(`remount,size=${to}`)
    },
    [Symbol.asyncDispose]() {
      execFileSync('umount', ['-l', folder])
      rmSync(folder, { recursive: true, force: true })
      return Promise.resolve()
    },
  }
}

describe('wrong endpoints', () => {
  const point = (fleet: TestFleet, shard: string, change: object) =>
    fleet.catalog.changeRouting(keyspace, ({ shards }) => ({
      put: shards
        .filter(({ id }) => id === shard)
        .map((record) => ({ ...record, nodes: record.nodes.map((node) => ({ ...node, ...change })) })),
    }))

  it.each([
    {
      what: 'a database that is not there',
      change: { database: 'nowhere' },
      reason: /database "nowhere" does not exist; create the database/,
    },
    {
      what: 'a login that is not there',
      change: { user: 'nobody' },
      reason: /nobody.*; check user and password of nobody/,
    },
  ])('$what', async ({ change, reason }) => {
    await using fleet = await usersFleet()
    await point(fleet, 'b', change)
    await expectRefused(fleet, await fleet.finish(await fleet.submit({ kind: 'split' })), reason)
  })

  it.each(['b', 'a'])('the database of another shard, in place of that of %s', async (shard) => {
    await using fleet = await usersFleet({ targets: ['b', 'c', 'd'] })
    await point(fleet, shard, { database: fleet.target('d').database })
    const order = { kind: 'split' as const, targets: [target('b'), target('c')] }
    await expectRefused(
      fleet,
      await fleet.finish(await fleet.submit(order)),
      new RegExp(`shard ${shard}: its database belongs to shard d of app; correct its endpoint`),
    )
  })

  it('a port where nobody listens: the job waits and says so, and ends by cancel', async () => {
    await using fleet = await usersFleet()
    await point(fleet, 'b', { port: 1 })
    const job = await fleet.submit({ kind: 'split' })
    const reason = /cannot be reached.*; check that the server runs/
    expect(await fleet.runOnce(job)).toMatchObject({
      kind: 'waiting',
      reason: expect.stringMatching(reason) as string,
    })
    expect((await fleet.job(job)).detail.waitsFor).toMatch(reason)
    await orderCancel(fleet, job)
    expect(await fleet.finish(job)).toMatchObject({ status: 'cancelled' })
    await expectServing(fleet)
  })
})

describe('missing privileges, and settings of the server', () => {
  it('a login that may not replicate', async () => {
    await using fleet = await usersFleet()
    await asSuperuser(fleet, 'a', 'alter role app noreplication')
    const ended = await fleet.finish(await fleet.submit({ kind: 'split' }))
    await asSuperuser(fleet, 'a', 'alter role app replication')
    await expectRefused(fleet, ended, /shard a: the login may not replicate; .*REPLICATION/)
  })

  it.each(['a', 'b'])('a login that does not own the tables of %s', async (shard) => {
    await using fleet = await usersFleet()
    await asSuperuser(fleet, shard, 'alter table users owner to postgres; grant all on users to app')
    await expectRefused(
      fleet,
      await fleet.finish(await fleet.submit({ kind: 'split' })),
      new RegExp(
        `shard ${shard}: the login does not own public.users; ALTER TABLE public.users OWNER TO app`,
      ),
    )
  })

  it('a login that may not create in the database of the source', async () => {
    await using fleet = await usersFleet()
    const { database } = fleet.target('a')
    await asSuperuser(fleet, 'a', `alter database ${database} owner to postgres`)
    await expectRefused(
      fleet,
      await fleet.finish(await fleet.submit({ kind: 'split' })),
      new RegExp(`shard a: the login may make no publication; GRANT CREATE ON DATABASE ${database} TO app`),
    )
  })

  it('wal_level replica', async () => {
    await using plain = await startVersion(version, { wal_level: 'replica' })
    await using fleet = await usersFleet({ on: { a: plain } })
    await expectRefused(
      fleet,
      await fleet.finish(await fleet.submit({ kind: 'split' })),
      /shard a: wal_level is replica; set wal_level = logical and restart/,
    )
  })
})

describe('a cancel', () => {
  it.each([
    { state: 'planned', at: null },
    { state: 'preflight', at: 'before persist checked' },
    { state: 'copying', at: 'before unit public.users 2' },
    { state: 'catching_up', at: 'before restore indexes' },
    { state: 'verifying', at: 'before persist verified' },
    { state: 'ready', at: 'before calm' },
  ])(
    'in $state: the source is untouched, the targets are empty',
    async ({ at }) => {
      await using fleet = await usersFleet()
      const job = await fleet.submit({ kind: 'split' })
      if (at === null) await orderCancel(fleet, job)
      const ended = await fleet.finish(job, async (name) => {
        if (name === at) await orderCancel(fleet, job)
      })
      expect(ended).toMatchObject({ status: 'cancelled', errorCode: null })
      for (const shard of ['b', 'c'])
        expect(await fleet.sql(shard, 'select count(*)::int as n from users')).toEqual([{ n: 0 }])
      await expectServing(fleet)
    },
    testMsMax,
  )

  it(
    'of a paused job',
    async () => {
      await using fleet = await usersFleet()
      const job = await fleet.submit({ kind: 'split' })
      const order = (what: string) =>
        fleet.catalog.jobs.update(job.id, (record) => ({
          ...record,
          detail: { ...(record.detail as object), order: what },
        }))
      const progress = await fleet.runOnce(job, async (name) => {
        if (name === 'before persist caught_up') await order('pause')
      })
      expect(progress).toEqual({ kind: 'waiting', reason: 'the job is paused' })
      await order('cancel')
      expect(await fleet.finish(job)).toMatchObject({ status: 'cancelled' })
      await expectServing(fleet)
    },
    testMsMax,
  )

  // Managers take no such order any more; one that crossed the hold on its way is met here.
  it.each([
    { at: 'before fence', end: 'cancelled', rows: { a: rowCount, there: 0 } },
    { at: 'before flip', end: 'cancelled', rows: { a: rowCount, there: 0 } },
    { at: 'after flip', end: 'completed', rows: { a: rowCount, there: rowCount } },
  ] as const)(
    'in cutover, $at: the job ends $end',
    async ({ at, end, rows }) => {
      await using fleet = await usersFleet()
      const job = await fleet.submit({ kind: 'split' })
      const ended = await fleet.finish(job, async (name) => {
        if (name === at) await orderCancel(fleet, job)
      })
      expect(ended).toMatchObject({ status: end, errorCode: null })
      const count = async (shard: string): Promise<number> =>
        Number((await fleet.sql(shard, 'select count(*)::int as n from users'))[0]?.['n'])
      const there = (await count('b')) + (await count('c'))
      expect({ a: await count('a'), there }).toEqual(rows)
      if (end === 'cancelled') await expectServing(fleet)
    },
    testMsMax,
  )
})

describe('a server that is killed and stays away', () => {
  it.each([
    { what: 'the source', shard: 'a', at: 'before unit public.users 2' },
    { what: 'the source, at the fence', shard: 'a', at: 'before fence' },
    { what: 'a target', shard: 'b', at: 'before unit public.users 2' },
    { what: 'a target, behind the fence', shard: 'b', at: 'after fence' },
  ])(
    '$what: the job waits and says for what, and goes on when it is back',
    async ({ shard, at }) => {
      await using other = await startVersion(version)
      await using fleet = await usersFleet({ on: { [shard]: other } })
      const job = await fleet.submit({ kind: 'split' })
      let isKilled = false
      const progress = await fleet.runOnce(job, async (name) => {
        if (name !== at || isKilled) return
        isKilled = true
        await other.stop('kill')
      })
      expect(progress.kind).toBe('waiting')
      const { record, detail } = await fleet.job(job)
      expect(record.status).toBe('running')
      expect(detail.waitsFor).toMatch(/.+; .+/)
      await other.start()
      await using after = fleet.reopened()
      expect(await after.finish(job)).toMatchObject({ status: 'completed', errorMessage: null })
      const counts = await Promise.all(
        ['b', 'c'].map((one) => after.sql(one, 'select count(*)::int as n from users')),
      )
      expect(counts.flat().reduce((sum, { n }) => sum + Number(n), 0)).toBe(rowCount)
    },
    testMsMax,
  )
})
