// A database belongs to one shard, and what a router checks when it connects can't be read behind a change's back.
import { parseEpoch, parseShardId, parseTerm } from '@fleetshard/core'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  checkShardState,
  claimedDatabase,
  claimOf,
  startVersion,
  targetOf,
  testEngine,
  testVersions,
} from './testing.ts'
import { parseShardState, shardStateLockKey } from '@fleetshard/routing/shard-state'

describe.each(testVersions)('identity on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  beforeAll(async () => {
    server = await startVersion(version)
  })
  afterAll(() => server[Symbol.asyncDispose]())

  it('claims a fresh database, and again for the same shard without going back', async () => {
    const target = targetOf(server, await server.createDatabase())
    expect(await testEngine.readIdentity(target)).toBeNull()
    const first = claimOf('a', { term: parseTerm(3), epochMin: parseEpoch(7), sequenceBlock: 2 })
    expect(await testEngine.claim(target, first)).toEqual(first)
    const again = await testEngine.claim(target, { ...first, term: parseTerm(1), epochMin: parseEpoch(9) })
    expect(again).toEqual({ ...first, epochMin: 9 })
    expect((await testEngine.inspectNode(target)).identity).toEqual(again)
  })

  it('makes no more in a fresh database than every shard needs', async () => {
    const database = await server.createDatabase()
    await testEngine.claim(targetOf(server, database), claimOf('a'))
    const client = await server.connect({ database })
    const { rows } = await client.query<{ made: string }>(
      `select c.relname as made from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'fleetshard' or c.oid in (select reltoastrelid from pg_class where relname = 'shard_state')
        order by 1`,
    )
    expect(rows.map(({ made }) => made)).toEqual(['id_clock', 'shard_state', 'shard_state_pkey'])
  })

  it('ends connections that routers of a static topology have to a database nobody had claimed', async () => {
    const database = await server.createDatabase()
    const { host, port, user, password } = server
    const lost = Promise.withResolvers<Error>()
    const router = new Client({
      host,
      port,
      user,
      password,
      database,
      application_name: 'fleetshard/router x',
    })
    router.on('error', lost.resolve)
    await router.connect()
    const other = await server.connect({ database })
    await testEngine.claim(targetOf(server, database), claimOf('a'))
    expect(await lost.promise).toBeInstanceOf(Error)
    expect((await other.query('select 1 as one')).rows).toEqual([{ one: 1 }])
  })

  it('does several calls on one connection, and passes on what its caller throws', async () => {
    const target = targetOf(server, await server.createDatabase())
    const own = new Error('of the caller')
    const calls = testEngine.onNode(target, async (node) => {
      expect((await node.inspect()).identity).toBeNull()
      expect(await node.claim(claimOf('a'))).toEqual(claimOf('a'))
      await expect(node.claim(claimOf('b'))).rejects.toMatchObject({ code: 'wrong_database' })
      expect((await node.inspect()).identity).toEqual(claimOf('a'))
      expect(await node.release(parseShardId('a'))).toBe(true)
      await node.claim(claimOf('b'))
      return 'done'
    })
    expect(await calls).toBe('done')
    expect(await testEngine.readIdentity(target)).toEqual(claimOf('b'))
    const failing = testEngine.onNode(target, () => Promise.reject(own))
    await expect(failing).rejects.toBe(own)
  })

  it('claims by what it finds where another was faster after the look', async () => {
    const target = targetOf(server, await server.createDatabase())
    const late = (shard: string): Promise<unknown> =>
      testEngine.onNode(target, async (node) => {
        expect((await node.inspect()).identity).toBeNull()
        if (shard === 'a') await testEngine.claim(target, claimOf('a', { epochMin: parseEpoch(9) }))
        return node.claim(claimOf('a', { epochMin: parseEpoch(2) }))
      })
    expect(await late('a')).toEqual(claimOf('a', { epochMin: parseEpoch(9) }))
    await testEngine.release(target, parseShardId('a'))
    // The schema is there, and no claim in it.
    expect(await late('again')).toEqual(claimOf('a', { epochMin: parseEpoch(2) }))
  })

  it('lets exactly one of many win that have all seen it free', async () => {
    const target = targetOf(server, await server.createDatabase())
    const shards = ['a', 'b', 'c', 'd', 'e', 'f']
    const seen = Promise.withResolvers<undefined>()
    let looks = 0
    const results = await Promise.allSettled(
      shards.map((shard) =>
        testEngine.onNode(target, async (node) => {
          await node.inspect()
          looks += 1
          if (looks === shards.length) seen.resolve(undefined)
          await seen.promise
          return node.claim(claimOf(shard))
        }),
      ),
    )
    const won = results.filter((result) => result.status === 'fulfilled')
    expect(won).toHaveLength(1)
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'wrong_database' })
    }
    expect(await testEngine.readIdentity(target)).toEqual(won[0]?.value)
  })

  it('is not released where it cannot be written to, and was never claimed where there is no schema', async () => {
    const target = await claimedDatabase(server, 'a')
    expect(await testEngine.release(targetOf(server, await server.createDatabase()), parseShardId('a'))).toBe(
      false,
    )
    const admin = await server.connect({ superuser: true, database: target.database })
    await admin.query(`alter database ${target.database} set default_transaction_read_only = on`)
    const fresh = { ...target, database: await server.createDatabase() }
    await admin.query(`alter database ${fresh.database} set default_transaction_read_only = on`)
    await admin.end()
    const refused = {
      code: 'node_check_failed',
      hint: expect.stringContaining('default_transaction_read_only') as string,
    }
    await expect(testEngine.release(target, parseShardId('a'))).rejects.toMatchObject(refused)
    const claiming = testEngine.onNode(fresh, async (node) => {
      await node.inspect()
      return node.claim(claimOf('a'))
    })
    await expect(claiming).rejects.toMatchObject(refused)
  })

  it("ends the connections of routers when it is released, and nobody else's", async () => {
    const target = await claimedDatabase(server, 'a')
    const router = await server.connect({ database: target.database })
    await router.query("set application_name = 'fleetshard/router r1'")
    const other = await server.connect({ database: target.database })
    await expect(testEngine.release(target, parseShardId('b'))).rejects.toMatchObject({
      code: 'wrong_database',
    })
    expect((await router.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    expect(await testEngine.release(target, parseShardId('a'))).toBe(true)
    await expect(router.query('select 1')).rejects.toThrow()
    expect((await other.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    await other.end()
  })

  it("refuses another shard's database and names the owner (two shards never share one)", async () => {
    const target = await claimedDatabase(server, 'a')
    await expect(testEngine.claim(target, claimOf('b'))).rejects.toMatchObject({
      code: 'wrong_database',
      message: expect.stringContaining('belongs to shard a') as string,
      facts: { found_shard: 'a', wanted_shard: 'b' },
    })
    const elsewhere = claimOf('a', { cluster: '00000000-0000-4000-8000-000000000000' })
    await expect(testEngine.claim(target, elsewhere)).rejects.toMatchObject({ code: 'wrong_database' })
    await expect(testEngine.claim(target, claimOf('a', { sequenceBlock: 5 }))).rejects.toMatchObject({
      code: 'wrong_database',
    })
    expect(await testEngine.readIdentity(target)).toEqual(claimOf('a'))
  })

  it('lets exactly one of many concurrent claims win', async () => {
    const target = targetOf(server, await server.createDatabase())
    const shards = ['a', 'b', 'c', 'd', 'e', 'f']
    const results = await Promise.allSettled(shards.map((shard) => testEngine.claim(target, claimOf(shard))))
    const won = results.filter((result) => result.status === 'fulfilled')
    expect(won).toHaveLength(1)
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'wrong_database' })
    }
    expect((await testEngine.readIdentity(target))?.shard).toBe(won[0]?.value.shard)
  })

  it('is released by its own shard only, and can be claimed anew then', async () => {
    const target = await claimedDatabase(server, 'a')
    await expect(testEngine.release(target, parseShardId('b'))).rejects.toMatchObject({
      code: 'wrong_database',
    })
    expect(await testEngine.release(target, parseShardId('a'))).toBe(true)
    expect(await testEngine.release(target, parseShardId('a'))).toBe(false)
    expect(await testEngine.readIdentity(target)).toBeNull()
    expect((await testEngine.claim(target, claimOf('b', { sequenceBlock: 1 }))).shard).toBe('b')
  })

  it('tells the missing GRANT to a login that may not create the schema', async () => {
    const database = await server.createDatabase()
    const admin = await server.connect({ superuser: true, database })
    await admin.query("create role plain login password 'secret-of-plain'")
    const target = { ...targetOf(server, database), user: 'plain', password: 'secret-of-plain' }
    await expect(testEngine.claim(target, claimOf('a'))).rejects.toMatchObject({
      code: 'node_check_failed',
      hint: expect.stringContaining(`GRANT CREATE ON DATABASE "${database}" TO "plain"`) as string,
    })
    expect((await testEngine.inspectNode(target)).mayCreate).toBe(false)
    await admin.query(`grant create on database ${database} to plain`)
    expect((await testEngine.claim(target, claimOf('a'))).shard).toBe('a')
    await admin.end()
  })

  it('refuses a read-only database with the setting to change', async () => {
    const database = await server.createDatabase()
    const admin = await server.connect({ superuser: true, database })
    await admin.query(`alter database ${database} set default_transaction_read_only = on`)
    await admin.end()
    const target = targetOf(server, database)
    expect(await testEngine.inspectNode(target)).toMatchObject({ readOnly: true, inRecovery: false })
    await expect(testEngine.claim(target, claimOf('a'))).rejects.toMatchObject({
      code: 'node_check_failed',
      hint: expect.stringContaining('default_transaction_read_only') as string,
    })
  })

  it('can be checked by any role, in one query', async () => {
    const target = await claimedDatabase(server, 'a', { sequenceBlock: 4, epochMin: parseEpoch(2) })
    const admin = await server.connect({ superuser: true, database: target.database })
    await admin.query("create role app_role login password 'x'")
    await admin.query('set role app_role')
    expect(parseShardState(await checkShardState(admin))).toEqual(
      claimOf('a', { sequenceBlock: 4, epochMin: parseEpoch(2) }),
    )
    await expect(admin.query("update fleetshard.shard_state set shard = 'b'")).rejects.toThrow(
      /permission denied/,
    )
    await admin.query('reset role')
    await admin.query('drop role app_role')
    await admin.end()
  })

  it('keeps our schema out of the way of unqualified names, also for a login named like it', async () => {
    const target = await claimedDatabase(server, 'a')
    const client = await server.connect({ database: target.database })
    await client.query('create table mine (id int)')
    expect((await testEngine.describeTables(target)).map(({ name }) => name)).toEqual(['public.mine'])
    await client.end()
  })

  it('raises epoch and term, never lowers them, and ends router connections', async () => {
    const target = await claimedDatabase(server, 'a', { term: parseTerm(2), epochMin: parseEpoch(5) })
    const router = await server.connect({ database: target.database })
    await router.query("set application_name = 'fleetshard/router r1'")
    const other = await server.connect({ database: target.database })
    const shard = parseShardId('a')
    expect(await testEngine.setEpochMin(target, { shard, epochMin: parseEpoch(8) })).toMatchObject({
      epochMin: 8,
      term: 2,
    })
    await expect(router.query('select 1')).rejects.toThrow()
    expect((await other.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    const lower = { shard, epochMin: parseEpoch(3), term: parseTerm(1) }
    expect(await testEngine.setEpochMin(target, lower)).toMatchObject({ epochMin: 8, term: 2 })
    const wrong = { shard: parseShardId('b'), epochMin: parseEpoch(9) }
    await expect(testEngine.setEpochMin(target, wrong)).rejects.toMatchObject({ code: 'wrong_database' })
    await other.end()
  })

  it("makes a router's check wait for a change that is under way, and then shows the new state", async () => {
    const target = await claimedDatabase(server, 'a')
    const changer = await server.connect({ database: target.database })
    const router = await server.connect({ database: target.database })
    await changer.query('begin')
    await changer.query(`select pg_advisory_xact_lock(${shardStateLockKey})`)
    await changer.query('update fleetshard.shard_state set epoch_min = 99')
    await router.query("set lock_timeout = '1ms'")
    const checked = checkShardState(router)
    for (;;) {
      const { rows } = await changer.query<{ n: number }>(
        "select count(*)::int as n from pg_locks where locktype = 'advisory' and not granted",
      )
      if (rows[0]?.n === 1) break
    }
    await changer.query('commit')
    expect(await checked).toMatchObject({ epoch_min: '99' })
    await Promise.all([changer.end(), router.end()])
  })
})
