// Schema jobs on real servers: all shards or none, wherever the worker dies, and nothing left behind. The numbers in
// brackets are the invariants of SPEC.md.
import { parseShardId, type JobRecord } from '@fleetshard/core'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createMemoryBackend } from '../../catalog/backends/memory/mod.ts'
import type { Catalog } from '../../catalog/mod.ts'
import {
  parseSchemaJobDetail,
  sequenceBlockSize,
  storedStatements,
  type NodeTarget,
  type TableDeclaration,
} from '../../engine/mod.ts'
import { startVersion, targetOf, testVersions, usersDdl } from '../../engine/postgres/testing.ts'
import { systemClock } from '../../runtime/mod.ts'
import type { WorkerParts } from '../worker.ts'
import { gidOf, gidPrefix } from './shards.ts'
import { sweepPrepared } from './sweep.ts'
import { addShard, createKeyspace, keyspace, runOnce, submit, workerParts } from './testing.ts'

const users: TableDeclaration = { name: 'public.users', kind: 'sharded', keyColumn: 'user_id' }
const never = new AbortController().signal

describe.each(testVersions)('schema job on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  let parts: WorkerParts
  let catalog: Catalog
  let targets: NodeTarget[]

  beforeAll(async () => {
    server = await startVersion(version)
  })
  afterAll(() => server[Symbol.asyncDispose]())
  beforeEach(async () => {
    parts = workerParts(createMemoryBackend({ clock: systemClock }).open(), server.password)
    catalog = parts.catalog
    targets = []
    await createKeyspace(catalog)
  })

  async function addShards(...names: readonly string[]): Promise<void> {
    for (const name of names) {
      const target = targetOf(server, await server.createDatabase())
      await addShard(parts, target, name, targets.length)
      targets.push(target)
    }
  }

  const engine = () => parts.engineOf('postgres')
  const tablesOf = async (target: NodeTarget): Promise<string[]> =>
    (await engine().describeTables(target)).map(({ name }) => name)
  const everywhere = (): Promise<string[][]> => Promise.all(targets.map(tablesOf))
  const prepared = async (): Promise<string[]> => {
    const found = await Promise.all(targets.map((target) => engine().listPrepared(target, gidPrefix)))
    return found.flat().map(({ gid }) => gid)
  }
  const stored = async (job: JobRecord): Promise<JobRecord> => {
    const found = await catalog.jobs.get(job.id)
    if (found === null) throw new Error('the job is gone')
    return found.record
  }
  const records = async (): Promise<string[]> =>
    (await catalog.tables.list(keyspace)).map(({ record }) => record.name)

  async function sql(target: NodeTarget, text: string): Promise<unknown[]> {
    const client = await server.connect({ database: target.database })
    try {
      return (await client.query<Record<string, unknown>>(text)).rows
    } finally {
      await client.end()
    }
  }

  /** Names of all checkpoints of a job that nothing disturbs. */
  async function checkpoints(make: () => Promise<JobRecord>): Promise<string[]> {
    const names: string[] = []
    await runOnce(parts, await make(), (name) => void names.push(name))
    return names
  }

  /** A worker that dies at the nth checkpoint: nothing it had not begun before is begun after. */
  function deathAt(index: number): (name: string) => void {
    let seen = 0
    return () => {
      if (seen++ >= index) throw new Error('the worker is dead')
    }
  }

  it('creates the users table on every shard, each counting in its own block, and records it', async () => {
    await addShards('a', 'b', 'c')
    const job = await submit(catalog, usersDdl, [users])
    expect(await runOnce(parts, job)).toEqual({ kind: 'ended' })
    expect(await stored(job)).toMatchObject({
      status: 'completed',
      state: 'completed',
      progress: 1,
      errorCode: null,
    })
    expect(await everywhere()).toEqual([['public.users'], ['public.users'], ['public.users']])
    const insert = "insert into users (user_id, name, email) values ('u', 'n', 'e') returning id"
    for (const [block, target] of targets.entries()) {
      expect(await sql(target, insert)).toEqual([{ id: String(BigInt(block) * sequenceBlockSize + 1n) }])
    }
    const [table] = await catalog.tables.list(keyspace)
    expect(table?.record).toMatchObject({
      name: 'public.users',
      kind: 'sharded',
      keyColumn: 'user_id',
      keyType: 'text',
      homeShard: null,
      version: 1,
    })
    expect(await prepared()).toEqual([])
  })

  it('stores what makes a fresh shard, in order, over several jobs', async () => {
    await addShards('a', 'b')
    await runOnce(parts, await submit(catalog, usersDdl, [users]))
    const more = `create type mood as enum ('good', 'bad');
      create table moods (user_id varchar(255) not null references users (user_id), mood mood, primary key (user_id));
      create table countries (code text primary key); create table settings (name text primary key);
      create index on moods (mood); comment on table countries is 'of the world; all'`
    await runOnce(
      parts,
      await submit(catalog, more, [
        { name: 'public.moods', kind: 'sharded', keyColumn: 'user_id' },
        { name: 'public.countries', kind: 'reference', keyColumn: null },
        { name: 'public.settings', kind: 'global', keyColumn: null },
      ]),
    )
    const tables = (await catalog.tables.list(keyspace)).map(({ record }) => record)
    expect(tables.find(({ name }) => name === 'public.settings')?.homeShard).toBe('a')
    const { statements, missing } = storedStatements(tables)
    expect(missing).toEqual([])
    const fresh = targetOf(server, await server.createDatabase())
    const shard = await addShard(parts, fresh, 'fresh', 7)
    const declarations = tables.map(({ name, kind, keyColumn, homeShard }) => ({
      name,
      kind,
      keyColumn,
      homeShard,
    }))
    const change = { shard: shard.id, statements, declarations, declared: [], sequenceBlock: 7 }
    const outcome = await engine().applySchema(fresh, change)
    expect(outcome.checked.filter(({ keyType }) => keyType === 'text')).toHaveLength(2)
    expect(outcome.checked).toHaveLength(4)
    expect(await tablesOf(fresh)).toEqual(await tablesOf(targets[0] ?? fresh))
  })

  it('does it in one transaction where there is one shard, also without two-phase commit', async () => {
    const own = await startVersion(version, { max_prepared_transactions: 0 })
    try {
      const target = targetOf(own)
      await addShard(parts, target, 'only', 0)
      const ownParts = { ...parts, targetOf: () => Promise.resolve(target) }
      const job = await submit(catalog, usersDdl, [users])
      await runOnce(ownParts, job)
      expect((await stored(job)).status).toBe('completed')
      expect(await tablesOf(target)).toEqual(['public.users'])
      await addShard(parts, { ...target, database: await own.createDatabase() }, 'second', 1)
      const refused = await submit(catalog, 'create table t (user_id text primary key)', [
        { ...users, name: 'public.t' },
      ])
      const both = {
        ...parts,
        targetOf: (node: { database: string }) => Promise.resolve({ ...target, database: node.database }),
      }
      await runOnce(both, refused)
      expect(await stored(refused)).toMatchObject({
        status: 'failed',
        errorCode: 'schema_refused',
        errorMessage: expect.stringContaining('max_prepared_transactions = 20') as string,
      })
    } finally {
      await own[Symbol.asyncDispose]()
    }
  })

  describe('when the worker dies', () => {
    it('at any checkpoint of a change that succeeds: all shards have it in the end (1, 2, 3, 5)', async () => {
      await addShards('a', 'b')
      const names = await checkpoints(() => submit(catalog, usersDdl, [users]))
      expect(names).toHaveLength(16)
      for (const index of names.keys()) {
        const table = `t${String(index)}`
        const ddl = `create table ${table} (user_id text primary key, n bigserial)`
        const job = await submit(catalog, ddl, [{ ...users, name: `public.${table}` }])
        await expect(runOnce(parts, job, deathAt(index))).rejects.toThrow('dead')
        const between = await everywhere()
        const committed = between.filter((tables) => tables.includes(`public.${table}`)).length
        const { state } = await stored(job)
        if (!['committing', 'recording', 'completed'].includes(state)) expect(committed).toBe(0)
        expect((await records()).includes(`public.${table}`)).toBe(state === 'completed')
        if ((await stored(job)).status !== 'completed') await runOnce(parts, job)
        expect((await stored(job)).status).toBe('completed')
        for (const tables of await everywhere()) expect(tables).toContain(`public.${table}`)
        expect(await records()).toContain(`public.${table}`)
        expect(await prepared()).toEqual([])
      }
    })

    it('at any checkpoint of a change that one shard refuses: no shard has it in the end (1, 5)', async () => {
      await addShards('a', 'b')
      const [, second] = targets
      if (second === undefined) throw new Error('two shards')
      await sql(second, 'create table taken (x int)')
      const ddl =
        'create table users2 (user_id text primary key); create table taken (user_id text primary key)'
      const declarations = [
        { ...users, name: 'public.users2' },
        { ...users, name: 'public.taken' },
      ]
      const names = await checkpoints(() => submit(catalog, ddl, declarations))
      expect(names.some((name) => name.includes('rollback a'))).toBe(true)
      for (const index of names.keys()) {
        const job = await submit(catalog, ddl, declarations)
        await expect(runOnce(parts, job, deathAt(index))).rejects.toThrow('dead')
        if ((await stored(job)).status !== 'failed') await runOnce(parts, job)
        expect(await stored(job)).toMatchObject({
          status: 'failed',
          errorCode: 'schema_failed',
          errorMessage: expect.stringContaining('shard b') as string,
        })
        expect(parseSchemaJobDetail((await stored(job)).detail).failure?.sqlstate).toBe('42P07')
        expect(await everywhere()).toEqual([[], ['public.taken']])
        expect(await records()).toEqual([])
        expect(await prepared()).toEqual([])
      }
    })

    it('at any checkpoint of a change of one shard: it is whole in the end', async () => {
      await addShards('a')
      const names = await checkpoints(() => submit(catalog, usersDdl, [users]))
      for (const index of names.keys()) {
        const table = `public.t${String(index)}`
        const job = await submit(catalog, `create table ${table} (user_id text primary key)`, [
          { ...users, name: table },
        ])
        await expect(runOnce(parts, job, deathAt(index))).rejects.toThrow('dead')
        if ((await stored(job)).status !== 'completed') await runOnce(parts, job)
        expect((await stored(job)).status).toBe('completed')
        expect((await everywhere())[0]).toContain(table)
      }
    })

    it('and wakes up when others have gone on, it changes nothing (4)', async () => {
      await addShards('a', 'b')
      const job = await submit(catalog, usersDdl, [users])
      await expect(
        runOnce(parts, job, async (name) => {
          if (name === 'before prepare b') await Promise.resolve()
          if (name !== 'before persist prepared') return
          // Asleep here: the lease is lost, another worker takes the job and ends it.
          await catalog.store.commit([], [{ kind: 'delete', key: `jobs/${job.id}/owner` }])
          await runOnce(parts, job)
        }),
      ).rejects.toMatchObject({ code: expect.stringMatching(/catalog_conflict|version_mismatch/) as string })
      expect((await stored(job)).status).toBe('completed')
      expect(await everywhere()).toEqual([['public.users'], ['public.users']])
    })
  })

  it('runs a prepared change again that a shard has lost after the decision', async () => {
    await addShards('a', 'b')
    const [, second] = targets
    if (second === undefined) throw new Error('two shards')
    const job = await submit(catalog, usersDdl, [users])
    await runOnce(parts, job, async (name) => {
      if (name === 'before commit b')
        await sql(second, `rollback prepared '${gidOf(job.id, parseShardId('b'))}'`)
    })
    expect((await stored(job)).status).toBe('completed')
    expect(await everywhere()).toEqual([['public.users'], ['public.users']])
  })

  it('reaches a shard that came while it ran before it records the tables (6)', async () => {
    await addShards('a', 'b')
    const job = await submit(catalog, usersDdl, [users])
    const first = await runOnce(parts, job, async (name) => {
      if (name === 'before persist recorded' && targets.length === 2) await addShards('c')
    })
    expect(first).toMatchObject({ kind: 'waiting' })
    expect(await records()).toEqual([])
    expect(await runOnce(parts, job)).toEqual({ kind: 'ended' })
    expect(await everywhere()).toEqual([['public.users'], ['public.users'], ['public.users']])
    expect(await records()).toEqual(['public.users'])
  })

  it('waits for an older job of the keyspace (7)', async () => {
    await addShards('a')
    const older = await submit(catalog, usersDdl, [users])
    const younger = await submit(catalog, 'create table t (user_id text primary key)', [
      { ...users, name: 'public.t' },
    ])
    expect(await runOnce(parts, younger)).toMatchObject({ kind: 'waiting' })
    await runOnce(parts, older)
    expect(await runOnce(parts, younger)).toEqual({ kind: 'ended' })
    expect(await records()).toEqual(['public.t', 'public.users'])
  })

  it('keeps going forward while a shard is away after the decision, and gives up going back', async () => {
    await addShards('a', 'b')
    let away = false
    const flaky: WorkerParts = {
      ...parts,
      targetOf: async (node, signal) => ({
        ...(await parts.targetOf(node, signal)),
        ...(away && node.database === targets[1]?.database ? { port: 1 } : {}),
      }),
    }
    const forward = await submit(catalog, usersDdl, [users])
    const leaves = (name: string): void => {
      if (name === 'before persist prepared' || name === 'before persist abort') away = true
    }
    expect(await runOnce(flaky, forward, leaves)).toMatchObject({ kind: 'waiting' })
    expect((await stored(forward)).state).toBe('committing')
    expect(await everywhere()).toEqual([['public.users'], []])
    away = false
    await runOnce(flaky, forward)
    expect(await everywhere()).toEqual([['public.users'], ['public.users']])

    const [first] = targets
    if (first === undefined) throw new Error('two shards')
    await sql(first, 'create table taken (x int)')
    const back = await submit(catalog, 'create table taken (user_id text primary key)', [
      { ...users, name: 'public.taken' },
    ])
    await runOnce(flaky, back, leaves)
    expect(await stored(back)).toMatchObject({
      status: 'failed',
      state: 'failed',
      errorCode: 'schema_failed',
    })
    expect(await prepared()).toEqual([gidOf(back.id, parseShardId('b'))])
    await sweepPrepared(flaky, never)
    expect(await prepared()).toHaveLength(1)
    away = false
    await sweepPrepared(flaky, never)
    expect(await prepared()).toEqual([])
    expect(await tablesOf(targets[1] ?? first)).toEqual(['public.users'])
  })

  it('sweeps by what the job decided, and leaves jobs under way and strange gids alone', async () => {
    await addShards('a', 'b')
    const [target] = targets
    if (target === undefined) throw new Error('two shards')
    const running = await submit(catalog, usersDdl, [users])
    const gid = gidOf(running.id, parseShardId('a'))
    const script = await engine().parseSchema(usersDdl)
    await engine().prepareSchema(target, gid, {
      shard: parseShardId('a'),
      statements: script.statements.map((statement) => statement.sql),
      declarations: [users],
      declared: [],
      sequenceBlock: 0,
    })
    await sql(target, "begin; create table x (a int); prepare transaction 'fleetshard_ddl:unknown-job:a'")
    await sql(target, "begin; create table y (a int); prepare transaction 'fleetshard_ddl:strange'")
    await sql(target, "begin; create table z (a int); prepare transaction 'app-own'")
    await sweepPrepared(parts, never)
    expect(await prepared()).toEqual(
      ['fleetshard_ddl:strange', 'fleetshard_ddl:unknown-job:a', gid].toSorted(),
    )
    await catalog.jobs.update(running.id, (job) => ({ ...job, status: 'completed', state: 'completed' }))
    await sweepPrepared(parts, never)
    expect(await tablesOf(target)).toEqual(['public.users'])
    for (const left of ['fleetshard_ddl:strange', 'fleetshard_ddl:unknown-job:a', 'app-own']) {
      await sql(target, `rollback prepared '${left}'`)
    }
  })

  it.each<{ what: string; ddl: string; code: string; message: RegExp; declared?: TableDeclaration }>([
    { what: 'no SQL', ddl: 'create tabel t', code: 'sql_syntax', message: /tabel/ },
    {
      what: 'a data statement',
      ddl: `${usersDdl} insert into users default values`,
      code: 'schema_refused',
      message: /no rows/,
    },
    {
      what: 'a table that is not declared',
      ddl: `${usersDdl} create table t (a int)`,
      code: 'schema_refused',
      message: /public\.t.*not declared/,
    },
    {
      what: 'a table that is not created',
      ddl: 'create table t (a int)',
      code: 'schema_refused',
      message: /public\.t/,
    },
    {
      what: 'a rule of sharding',
      ddl: usersDdl,
      declared: { ...users, keyColumn: 'email' },
      code: 'schema_refused',
      message: /ux_users_user_id/,
    },
    {
      what: 'int4 serial',
      ddl: 'create table users (user_id text primary key, n serial)',
      code: 'schema_refused',
      message: /BIGSERIAL/,
    },
    {
      what: 'an error of Postgres',
      ddl: 'create table users (user_id nonsense)',
      code: 'schema_failed',
      message: /type "nonsense" does not exist/,
    },
  ])('fails whole, with the way out, on $what', async ({ ddl, declared, code, message }) => {
    await addShards('a', 'b')
    const job = await submit(catalog, ddl, [declared ?? users])
    expect(await runOnce(parts, job)).toEqual({ kind: 'ended' })
    expect(await stored(job)).toMatchObject({
      status: 'failed',
      errorCode: code,
      errorMessage: expect.stringMatching(message) as string,
    })
    expect(await everywhere()).toEqual([[], []])
    expect(await prepared()).toEqual([])
  })

  it('refuses a keyspace without shards, a name that is taken, and a database that is another shard’s', async () => {
    const none = await submit(catalog, usersDdl, [users])
    await runOnce(parts, none)
    expect(await stored(none)).toMatchObject({ status: 'failed', errorCode: 'no_shard' })
    await addShards('a')
    await runOnce(parts, await submit(catalog, usersDdl, [users]))
    const again = await submit(catalog, usersDdl, [users])
    await runOnce(parts, again)
    expect(await stored(again)).toMatchObject({ status: 'failed', errorCode: 'already_exists' })
    const [target] = targets
    if (target === undefined) throw new Error('one shard')
    await engine().release(target, parseShardId('a'))
    const foreign = await submit(catalog, 'create table t (user_id text primary key)', [
      { ...users, name: 'public.t' },
    ])
    await runOnce(parts, foreign)
    expect(await stored(foreign)).toMatchObject({ status: 'failed', errorCode: 'wrong_database' })
  })

  it('ends a job that this version cannot read', async () => {
    await addShards('a')
    const job = await submit(catalog, usersDdl, [users])
    await catalog.jobs.update(job.id, (record) => ({ ...record, detail: { from: 'the future' } }))
    expect(await runOnce(parts, job)).toEqual({ kind: 'ended' })
    expect(await stored(job)).toMatchObject({ status: 'failed', errorCode: 'corrupt_record' })
  })
})
