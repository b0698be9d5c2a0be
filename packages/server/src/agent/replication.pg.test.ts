import { existsSync } from 'node:fs'
import { readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Agent } from './agent.ts'
import { slotName } from './layout.ts'
import { connect, makeTestFolder, openTestAgent, query, until, withSession } from './testing.ts'

// The newest (embedded) and, where it is installed, the oldest version that is run.
const oldest = '/usr/lib/postgresql/15/bin'
const versions = [undefined, ...(existsSync(oldest) ? [oldest] : [])]

// Tests of one version build on each other: making a server is what takes time here.
describe.each(versions)('replication (programs: %s)', (pgBin) => {
  let folder = ''
  let agent: Agent
  beforeAll(async () => {
    folder = await makeTestFolder()
    agent = await openTestAgent(folder, { pgBin })
    await agent.createPrimary({ id: 'a', group: 'g' })
    await query(agent, 'a', 'CREATE TABLE t AS SELECT generate_series(1, 200000) AS n')
  })
  afterAll(async () => {
    await agent[Symbol.asyncDispose]()
    await rm(folder, { recursive: true })
  })

  const count = async (id: string): Promise<unknown> =>
    (await query(agent, id, 'SELECT count(*)::int AS n FROM t').catch(() => []))[0]?.['n']
  const untilCount = async (id: string, rows: unknown): Promise<void> =>
    until(`${String(rows)} rows on ${id}`, async () => (await count(id)) === rows)

  test('an interrupted clone leaves no second primary and is made anew', async () => {
    const stop = new AbortController()
    const cloning = agent.createReplica({ id: 'b', of: 'a' }, stop.signal)
    const root = join(folder, 'servers', 'b')
    await until('the clone has begun', () => existsSync(join(root, 'data.new')))
    stop.abort(new Error('interrupted'))
    await expect(cloning).rejects.toThrow('interrupted')
    expect(existsSync(join(root, 'data'))).toBe(false)
    expect(await agent.createReplica({ id: 'b', of: 'a' })).toMatchObject({ state: 'running' })
  })

  test('a clone has everything, follows, refuses writes, and shares the login', async () => {
    expect(agent.get('b')).toMatchObject({ kind: 'replica', of: 'a', group: 'g', state: 'running' })
    expect(await count('b')).toBe(200_000)
    await query(agent, 'a', 'INSERT INTO t VALUES (0)')
    await untilCount('b', 200_001)
    await expect(query(agent, 'b', 'INSERT INTO t VALUES (1)')).rejects.toMatchObject({ code: '25006' })
    expect((await agent.endpoint('b')).password).toBe((await agent.endpoint('a')).password)
    expect((await stat(join(folder, 'servers', 'b', 'data'))).mode & 0o777).toBe(0o700)
  })

  test('a clone made under load loses nothing', async () => {
    const writer = await connect(await agent.endpoint('a'))
    let going = true
    const writing = (async () => {
      while (going) await writer.query('INSERT INTO t SELECT generate_series(1, 100)')
    })()
    await agent.createReplica({ id: 'c', of: 'a' })
    going = false
    await writing
    await writer.end()
    await untilCount('c', await count('a'))
  })

  test('everything comes back after a stop of all, replicas streaming', async () => {
    const rows = await count('a')
    await agent[Symbol.asyncDispose]()
    agent = await openTestAgent(folder) // the version is pinned by the data, not by the option
    await agent.startAll()
    await agent.awaitStreaming('b')
    await untilCount('b', rows)
  })

  test('a promoted replica takes writes on a new timeline, also when told twice; the others follow it', async () => {
    await agent.stop('a')
    const promotion = await agent.promote('b')
    expect(promotion).toMatchObject({ timeline: 2, server: { kind: 'primary', of: null } })
    expect((await agent.promote('b')).timeline).toBe(2)
    await query(agent, 'b', 'INSERT INTO t VALUES (1)')

    expect(await agent.follow('c', 'b')).toMatchObject({ of: 'b', kind: 'replica' })
    expect(await agent.follow('a', 'b')).toMatchObject({ of: 'b', kind: 'replica', state: 'running' })
    await query(agent, 'b', 'INSERT INTO t VALUES (2)')
    const rows = await count('b')
    await untilCount('a', rows)
    await untilCount('c', rows)
    await expect(query(agent, 'a', 'INSERT INTO t VALUES (3)')).rejects.toMatchObject({ code: '25006' })
  })

  test('a replica is dropped with its slot, a server that is followed not at all', async () => {
    const slots = async (): Promise<unknown[]> =>
      (await query(agent, 'b', 'SELECT slot_name FROM pg_replication_slots')).map((row) => row['slot_name'])
    expect(new Set(await slots())).toEqual(new Set([slotName('a'), slotName('c')]))
    await expect(agent.drop('b')).rejects.toMatchObject({ code: 'conflict' })
    await agent.drop('c')
    expect(await slots()).toEqual([slotName('a')])
  })

  test('one that was promoted past its agent acknowledges nothing, after a restart neither', async () => {
    await withSession(await agent.superuser('a'), async (client) => {
      await client.query('SELECT pg_promote()')
    })
    await agent.stop('a')
    expect(await agent.start('a')).toMatchObject({ kind: 'replica', of: 'b' })
    const failing = expect(query(agent, 'a', 'INSERT INTO t VALUES (4)')).rejects.toThrow()
    await until('the write waits for nobody', async () => {
      const found = await query(agent, 'a', "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
      return found.length === 1
    })
    await query(
      agent,
      'a',
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
    )
    await failing
  })

  test('a server with writes of its own does not pass for a replica', async () => {
    await query(agent, 'b', 'INSERT INTO t VALUES (5)')
    // It has history that the other has not: it starts, says that it is ready, and never streams.
    const stop = new AbortController()
    const ended = expect(agent.follow('a', 'b', { signal: stop.signal })).rejects.toThrow('not streaming')
    const log = join(folder, 'servers', 'a', 'postgres.log')
    await until('its log says why', async () => /behind recovery timeline/.test(await readFile(log, 'utf8')))
    // Its log is faster than its agent.
    await until('it runs', async () => agent.get('a').state === 'running')
    expect(agent.get('a')).toMatchObject({ kind: 'replica' })
    stop.abort(new Error('not streaming'))
    await ended
  })
})
