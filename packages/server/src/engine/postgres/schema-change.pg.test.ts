// Schema changes on one shard: whole or not at all, repeatable, and told apart when a prepared one is gone.
import { parseShardId } from '@fleetshard/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { NodeTarget, SchemaChange } from '../shard-engine.ts'
import type { TableDeclaration } from '../schema-facts.ts'
import { claimedDatabase, startVersion, testEngine, testVersions, usersDdl } from './testing.ts'

const users: TableDeclaration = { name: 'public.users', kind: 'sharded', keyColumn: 'user_id' }

async function usersChange(change: Partial<SchemaChange> = {}): Promise<SchemaChange> {
  const script = await testEngine.parseSchema(usersDdl)
  return {
    shard: parseShardId('a'),
    statements: script.statements.map(({ sql }) => sql),
    declarations: [users],
    declared: [],
    sequenceBlock: 2,
    ...change,
  }
}

describe.each(testVersions)('schema change on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  beforeAll(async () => {
    server = await startVersion(version)
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const fresh = (): Promise<NodeTarget> => claimedDatabase(server, 'a', { sequenceBlock: 2 })
  const tables = async (target: NodeTarget): Promise<string[]> =>
    (await testEngine.describeTables(target)).map(({ name }) => name)

  it('creates the users table with its key type and its sequence in the block', async () => {
    const target = await fresh()
    const { checked } = await testEngine.applySchema(target, await usersChange())
    expect(checked).toEqual([{ declaration: users, keyType: 'text' }])
    const client = await server.connect({ database: target.database })
    const insert = "insert into users (user_id, name, email) values ('u', 'n', 'e') returning id"
    expect((await client.query<{ id: string }>(insert)).rows[0]?.id).toBe(String(2n * 2n ** 40n + 1n))
    await client.end()
  })

  it('runs once for a gid, however often it is asked', async () => {
    const target = await fresh()
    const change = await usersChange()
    await testEngine.applySchema(target, change, { gid: 'g:1:a' })
    const again = await testEngine.applySchema(target, change, { gid: 'g:1:a' })
    expect(again.checked[0]?.keyType).toBe('text')
    await expect(testEngine.applySchema(target, change, { gid: 'g:2:a' })).rejects.toMatchObject({
      code: 'schema_failed',
      sqlstate: '42P07',
      message: expect.stringContaining('in statement 1: CREATE TABLE users') as string,
    })
  })

  it('refuses a table that was there before, which IF NOT EXISTS would pass over', async () => {
    const target = await fresh()
    const client = await server.connect({ database: target.database })
    await client.query('create table users (user_id varchar(255) not null, extra text)')
    await client.end()
    const change = await usersChange()
    const statements = change.statements.map((sql) =>
      sql.replace(/^CREATE (TABLE|.*INDEX) /i, '$&IF NOT EXISTS '),
    )
    await expect(testEngine.applySchema(target, { ...change, statements })).rejects.toMatchObject({
      code: 'schema_refused',
      message: expect.stringContaining('public.users exists already') as string,
    })
  })

  it('leaves nothing when a statement fails, or the result breaks a rule', async () => {
    const target = await fresh()
    const change = await usersChange()
    const failing = { ...change, statements: [...change.statements, 'create index on nowhere (x)'] }
    await expect(testEngine.applySchema(target, failing)).rejects.toMatchObject({ code: 'schema_failed' })
    const byMail = { ...change, declarations: [{ ...users, keyColumn: 'email' }] }
    await expect(testEngine.applySchema(target, byMail)).rejects.toMatchObject({
      code: 'schema_refused',
      message: expect.stringContaining('ux_users_user_id') as string,
    })
    const other = { ...change, declarations: [{ ...users, name: 'public.Users' }] }
    await expect(testEngine.applySchema(target, other)).rejects.toMatchObject({ code: 'schema_refused' })
    expect(await tables(target)).toEqual([])
  })

  it('touches no database but that of its shard', async () => {
    const target = await fresh()
    const foreign = await usersChange({ shard: parseShardId('b') })
    await expect(testEngine.applySchema(target, foreign)).rejects.toMatchObject({ code: 'wrong_database' })
    const block = await usersChange({ sequenceBlock: 3 })
    await expect(testEngine.prepareSchema(target, 'g:b', block)).rejects.toMatchObject({
      code: 'wrong_database',
    })
    expect(await tables(target)).toEqual([])
  })

  it('prepares without showing, then commits; each as often as asked', async () => {
    const target = await fresh()
    const change = await usersChange()
    const gid = `p:commit:${target.database}`
    const outcome = await testEngine.prepareSchema(target, gid, change)
    expect(outcome?.checked[0]?.keyType).toBe('text')
    expect(await testEngine.prepareSchema(target, gid, change)).toBeNull()
    expect(await tables(target)).toEqual([])
    const listed = await testEngine.listPrepared(target, 'p:commit:')
    expect(listed.map((found) => found.gid)).toEqual([gid])
    expect(listed[0]?.ageMs).toBeGreaterThanOrEqual(0)
    expect(await testEngine.listPrepared(target, 'other:')).toEqual([])
    expect(await testEngine.finishPrepared(target, gid, 'commit')).toBe('committed')
    expect(await testEngine.finishPrepared(target, gid, 'commit')).toBe('committed')
    expect(await testEngine.prepareSchema(target, gid, change)).toBeNull()
    expect(await tables(target)).toEqual(['public.users'])
    expect(await testEngine.listPrepared(target, 'p:')).toEqual([])
  })

  it('survives a crash of the server between prepare and commit', async () => {
    const own = await startVersion(version)
    try {
      const target = await claimedDatabase(own, 'a', { sequenceBlock: 2 })
      await testEngine.prepareSchema(target, 'p:crash', await usersChange())
      await own.stop('kill')
      await expect(testEngine.finishPrepared(target, 'p:crash', 'commit')).rejects.toMatchObject({
        code: 'shard_unavailable',
      })
      await own.start()
      expect(await testEngine.finishPrepared(target, 'p:crash', 'commit')).toBe('committed')
      expect(await tables(target)).toEqual(['public.users'])
    } finally {
      await own[Symbol.asyncDispose]()
    }
  })

  it('rolls back so that a late prepare fails, and tells it from lost', async () => {
    const target = await fresh()
    const change = await usersChange()
    const gid = `p:rollback:${target.database}`
    await testEngine.prepareSchema(target, gid, change)
    expect(await testEngine.finishPrepared(target, gid, 'rollback')).toBe('rolled-back')
    expect(await testEngine.finishPrepared(target, gid, 'rollback')).toBe('rolled-back')
    expect(await testEngine.finishPrepared(target, gid, 'commit')).toBe('rolled-back')
    await expect(testEngine.prepareSchema(target, gid, change)).rejects.toMatchObject({
      code: 'schema_failed',
    })
    await expect(testEngine.applySchema(target, change, { gid })).rejects.toMatchObject({
      code: 'schema_failed',
    })
    const before = `p:before:${target.database}`
    expect(await testEngine.finishPrepared(target, before, 'rollback')).toBe('rolled-back')
    await expect(testEngine.prepareSchema(target, before, change)).rejects.toMatchObject({
      code: 'schema_failed',
    })
    const lost = `p:lost:${target.database}`
    await testEngine.prepareSchema(target, lost, change)
    const client = await server.connect({ database: target.database })
    await client.query(`rollback prepared '${lost}'`)
    await client.end()
    expect(await testEngine.finishPrepared(target, lost, 'commit')).toBe('absent')
    expect(await tables(target)).toEqual([])
  })

  it('lets one of two concurrent workers do it and the other find it done', async () => {
    const target = await fresh()
    const change = await usersChange()
    const gid = `p:twice:${target.database}`
    const results = await Promise.all([
      testEngine.applySchema(target, change, { gid }),
      testEngine.applySchema(target, change, { gid }),
    ])
    for (const { checked } of results) expect(checked[0]?.keyType).toBe('text')
    expect(await tables(target)).toEqual(['public.users'])
  })

  it('refuses gids that are none', async () => {
    const target = await fresh()
    await expect(testEngine.finishPrepared(target, "x'; drop", 'commit')).rejects.toMatchObject({
      code: 'invalid_id',
    })
  })

  it('says which setting two-phase commit needs', async () => {
    const own = await startVersion(version, { max_prepared_transactions: 0 })
    try {
      const target = await claimedDatabase(own, 'a', { sequenceBlock: 2 })
      expect((await testEngine.inspectNode(target)).preparedTransactionsMax).toBe(0)
      await expect(testEngine.prepareSchema(target, 'p:none', await usersChange())).rejects.toMatchObject({
        code: 'schema_failed',
        hint: expect.stringContaining('max_prepared_transactions') as string,
      })
      expect(await tables(target)).toEqual([])
    } finally {
      await own[Symbol.asyncDispose]()
    }
  })
})
