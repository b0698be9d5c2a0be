// What an agent does in a failover, on servers of the newest and, where it is installed, the oldest version.
import { existsSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Agent } from './agent.ts'
import { makeTestFolder, openTestAgent, query, until, withSession } from './testing.ts'

const oldest = '/usr/lib/postgresql/15/bin'
const versions = [undefined, ...(existsSync(oldest) ? [oldest] : [])]

// Tests of one version build on each other: making a server is what takes time here.
describe.each(versions)('failover (programs: %s)', (pgBin) => {
  let folder = ''
  let agent: Agent
  /** Answers of the boot guard by server; the others lead. */
  const superseded = new Set<string>()
  const asked: string[] = []
  beforeAll(async () => {
    folder = await makeTestFolder()
    agent = await openTestAgent(folder, {
      pgBin,
      settings: { shared_buffers: '16MB' },
      guard: async ({ id }, occasion) => {
        asked.push(`${id} ${occasion}`)
        return superseded.has(id) ? 'superseded' : 'lead'
      },
    })
    await agent.createPrimary({ id: 'a', group: 'g' })
    await query(agent, 'a', 'CREATE TABLE t AS SELECT generate_series(1, 1000) AS n')
    await agent.createReplica({ id: 'b', of: 'a' })
    await agent.createReplica({ id: 'c', of: 'a' })
  })
  afterAll(async () => {
    await agent[Symbol.asyncDispose]()
    await rm(folder, { recursive: true })
  })

  const value = async (id: string, text: string): Promise<unknown> =>
    Object.values((await query(agent, id, text))[0] ?? {})[0]
  const count = (id: string): Promise<unknown> => value(id, 'SELECT count(*)::int FROM t')

  test('a commit waits for the replicas of the quorum, and for none when there is none', async () => {
    const sync = { members: ['b', 'c'], required: 1 }
    expect(await agent.setQuorum('a', sync, { term: 1 })).toMatchObject({ sync })
    expect(await value('a', 'SHOW synchronous_standby_names')).toBe('ANY 1 ("b", "c")')
    await agent.detach('b')
    await query(agent, 'a', 'INSERT INTO t VALUES (0)')
    await agent.detach('c')
    let isDone = false
    const waiting = query(agent, 'a', 'INSERT INTO t VALUES (0)').then(() => (isDone = true))
    await until(
      'the commit waits',
      async () =>
        (await value(
          'a',
          "SELECT count(*)::int FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE 'INSERT%'",
        )) === 1,
    )
    expect(isDone).toBe(false)
    await agent.follow('c', 'a')
    await waiting
  })

  test('a detached replica receives nothing, also after it was started again', async () => {
    expect(await agent.detach('b', { term: 1 })).toMatchObject({ detached: true, of: 'a' })
    await agent.stop('b')
    await agent.start('b')
    const before = await count('b')
    await query(agent, 'a', 'INSERT INTO t VALUES (0)')
    await until('c has it', async () => (await count('c')) === (await count('a')))
    expect(await count('b')).toBe(before)
    expect(await value('b', 'SELECT count(*)::int FROM pg_stat_wal_receiver')).toBe(0)
    expect(await agent.follow('b', 'a')).toMatchObject({ detached: false })
    await until('b has it', async () => (await count('b')) === (await count('a')))
  })

  test('a server that a signal has stopped is told from one that runs, and fenced at once', async () => {
    expect(await agent.liveness('a')).toMatchObject({ process: 'running', answers: true })
    process.kill(agent.get('a').pid ?? 0, 'SIGSTOP')
    await until('it is stopped', async () => (await agent.liveness('a')).process === 'frozen')
    expect(await agent.liveness('a')).toMatchObject({ process: 'frozen', answers: false })
    const began = performance.now()
    const { server, control } = await agent.fence('a', { term: 2 })
    expect(performance.now() - began).toBeLessThan(2_500) // a softer stop would be waited for
    expect(server).toMatchObject({ desired: 'fenced', state: 'stopped', term: 2 })
    expect(control).toMatchObject({ clean: false, timeline: 1 })
    expect(await agent.liveness('a')).toMatchObject({ process: 'none', answers: false })
  })

  test('orders of an older term are refused, whatever they are', async () => {
    const older = { term: 1 }
    await agent.detach('b', { term: 2 })
    for (const order of [
      agent.fence('a', older),
      agent.rejoin('a', 'b', older),
      agent.detach('b', older),
      agent.promote('b', older),
    ]) {
      await expect(order).rejects.toMatchObject({ code: 'conflict' })
    }
  })

  test('the promoted one asks its own quorum from the first commit on', async () => {
    const sync = { members: ['c'], required: 1 }
    await agent.promote('b', { term: 2, sync })
    expect(agent.get('b')).toMatchObject({ kind: 'primary', sync, detached: false })
    let isDone = false
    const waiting = query(agent, 'b', 'INSERT INTO t VALUES (7)').then(() => (isDone = true))
    await agent.follow('c', 'b', { wait: false })
    await waiting
    expect(isDone).toBe(true)
    expect(
      await value('b', "SELECT count(*)::int FROM pg_stat_replication WHERE sync_state = 'quorum'"),
    ).toBe(1)
  })

  test('a former primary comes back as a replica', async () => {
    const outcome = await agent.rejoin('a', 'b', { term: 2 })
    expect(outcome.server).toMatchObject({ kind: 'replica', of: 'b', state: 'running', desired: 'running' })
    await until('a has all', async () => (await count('a')) === (await count('b')))
    await expect(query(agent, 'a', 'INSERT INTO t VALUES (8)')).rejects.toMatchObject({ code: '25006' })
    expect(await value('a', 'SELECT count(*)::int FROM pg_replication_slots')).toBe(0)
  })

  test('one with writes of its own is rewound where that can be done, else cloned; they are gone', async () => {
    await agent.setQuorum('b', null)
    await agent.stop('c')
    // Promoted behind everybody's back, and written to.
    await withSession(await agent.superuser('a'), (client) => client.query('SELECT pg_promote()'))
    await query(agent, 'a', 'SET synchronous_commit = local; INSERT INTO t VALUES (5009)')
    await query(agent, 'b', 'INSERT INTO t VALUES (5010)')
    await withSession(await agent.superuser('a'), (client) => client.query('CHECKPOINT'))
    await agent.fence('a')
    await agent.setQuorum('b', { members: ['a'], required: 1 })
    const { way } = await agent.rejoin('a', 'b')
    // It was asked to confirm commits once, when it had what was to be confirmed.
    const confirms = /standby "a" is now a candidate for quorum synchronous standby/g
    const log = await readFile(join(folder, 'servers', 'b', 'postgres.log'), 'utf8')
    expect(log.slice(log.lastIndexOf('synchronous_standby_names')).match(confirms)).toHaveLength(1)
    await agent.setQuorum('b', null)
    expect(way).toBe(pgBin === undefined ? 'cloned' : 'rewound')
    await until(
      'a has what b has',
      async () => (await value('a', 'SELECT max(n) FROM t WHERE n IN (5009, 5010)')) === 5010,
    )
    expect(await value('a', 'SELECT count(*)::int FROM t WHERE n = 5009')).toBe(0)
    await agent.start('c')
  })

  test('data that is of no use is made anew', async () => {
    await agent.fence('a')
    await rm(join(folder, 'servers', 'a', 'data', 'global', 'pg_control'))
    expect(await agent.rejoin('a', 'b')).toMatchObject({ way: 'cloned', server: { state: 'running' } })
  })

  test('a primary that another one has superseded is fenced instead of started', async () => {
    asked.length = 0
    superseded.add('b')
    process.kill(agent.get('b').pid ?? 0, 'SIGKILL')
    await until('it is fenced', () => agent.get('b').desired === 'fenced')
    expect(asked).toEqual(['b restart'])
    await expect(agent.start('b')).rejects.toMatchObject({ code: 'conflict' })
    expect(await agent.start('b', { unfence: true })).toMatchObject({ state: 'running' })
    expect(asked).toEqual(['b restart'])

    await agent[Symbol.asyncDispose]()
    asked.length = 0
    agent = await openTestAgent(folder, {
      guard: async ({ id }, occasion) => {
        asked.push(`${id} ${occasion}`)
        return 'superseded'
      },
    })
    await agent.startAll()
    expect(asked).toEqual(['b boot'])
    expect(agent.get('b')).toMatchObject({ desired: 'fenced', state: 'stopped' })
    expect(agent.get('a')).toMatchObject({ desired: 'running', state: 'running' })
  })
})
