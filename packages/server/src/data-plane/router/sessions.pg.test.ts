// Which node answers a read that wants to see its own writes, or nothing too old: a primary with a real replica, whose
// replay is held up and let go.
import type { EventEmitter } from 'node:events'
import { parseEpoch, parseShardId } from '@fleetshard/core'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestCluster, type TestCluster } from '../../local/testing.ts'
import { testTable } from '@fleetshard/routing/testing'
import { startRouterOnGroups, type TestRouter } from './testing.ts'

const keyspace = { keyspace: 'app' }
const schema = `create table users (user_id text primary key, n int default 0);
  insert into users values ('ann')`
const read = `select n from users where user_id = 'ann'`
const write = `update users set n = n + 1 where user_id = 'ann'`

describe('a read that must see what its session has written', () => {
  let cluster: TestCluster
  let router: TestRouter
  let replica: Client
  let primaryId: string
  let replicaId: string

  beforeAll(async () => {
    cluster = await startTestCluster({ shards: 1, replicas: 1, catalog: false })
    const [group] = cluster.groups()
    const [follower] = group?.replicas ?? []
    if (group === undefined || follower === undefined) throw new Error('a primary and a replica')
    primaryId = group.primary.node.id
    replicaId = follower.node.id
    router = await startRouterOnGroups(cluster.groups(), { tables: [testTable('public.users')], schema })
    const { host, port, user, password } = await cluster.agent.superuser(replicaId)
    replica = new Client({ host, port, user, password, database: follower.node.database })
    // It is stopped under the client in the end.
    replica.on('error', () => undefined)
    await replica.connect()
    // The replica has the table, so that the first read of a test is about the test.
    while ((await eventual()).body['node'] !== replicaId)
      await new Promise((resolve) => setImmediate(resolve))
  }, 60_000)
  afterAll(async () => {
    await replica.end()
    await router[Symbol.asyncDispose]()
    await cluster[Symbol.asyncDispose]()
  })

  const eventual = (options: Record<string, unknown> = {}, text = read) =>
    router.post('/v1/execute', {
      query: text,
      consistency: 'eventual',
      options: { ...keyspace, ...options },
    })
  const change = async (options: Record<string, unknown> = { session_token: '' }): Promise<string> => {
    const { status, body } = await router.post('/v1/execute', {
      query: write,
      options: { ...keyspace, ...options },
    })
    expect(status).toBe(200)
    return String(body['session_token'])
  }
  const now = async (): Promise<unknown> =>
    ((await router.post('/v1/execute', { query: read, options: keyspace })).body['rows'] as unknown[])[0]
  const paused = async (work: () => Promise<void>): Promise<void> => {
    await replica.query('select pg_wal_replay_pause()')
    await expect
      .poll(
        async () => (await replica.query<{ s: string }>('select pg_get_wal_replay_pause_state() as s')).rows,
      )
      .toEqual([{ s: 'paused' }])
    try {
      await work()
    } finally {
      await replica.query('select pg_wal_replay_resume()')
    }
  }

  it('goes to the primary while the replica lags, and to the replica once it has replayed the write', async () => {
    let token = ''
    await paused(async () => {
      token = await change()
      expect(token).toMatch(/^fs1,app\/s0=1\.[0-9a-f]+$/)
      const rows = [await now()]
      expect(await eventual({ session_token: token })).toMatchObject({ body: { node: primaryId, rows } })
      // Without the token the replica answers with what it has.
      expect(await eventual()).toMatchObject({ body: { node: replicaId } })
      expect((await eventual()).body['rows']).not.toEqual(rows)
    })
    const rows = [await now()]
    await expect
      .poll(async () => (await eventual({ session_token: token })).body)
      .toMatchObject({ node: replicaId, rows, session_token: token })
  })

  it('is answered with a token only where one was asked for', async () => {
    const { body } = await router.post('/v1/execute', { query: write, options: keyspace })
    expect(body['session_token']).toBeNull()
    expect((await eventual({ session_token: '' })).body['session_token']).toBeNull()
    expect(await eventual({ session_token: 'nonsense' })).toMatchObject({
      status: 400,
      body: { code: 'invalid_request' },
    })
    const answer = await fetch(`${router.url}/v1/execute`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-fleetshard-session': '' },
      body: JSON.stringify({ query: write, options: keyspace }),
    })
    const { session_token: token } = (await answer.json()) as { session_token: string }
    expect(answer.headers.get('x-fleetshard-session')).toBe(token)
    const lines = await fetch(`${router.url}/v1/execute`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/x-ndjson',
        'x-fleetshard-session': token,
      },
      body: JSON.stringify({ query: write, options: keyspace }),
    })
    expect(await lines.text()).toMatch(/"session_token":"fs1,app\/s0=1\.[0-9a-f]+"\}\}\n$/)
  })

  it.each([
    ['a transaction', {}],
    ['a transaction under an idempotency key', { idempotency_key: 'tx' }],
    ['its repetition', { idempotency_key: 'tx' }],
  ])('sees what %s has written', async (_what, more) => {
    await paused(async () => {
      const body = {
        statements: [{ query: write }],
        options: { ...keyspace, session_token: '', ...more },
      }
      const { body: answer } = await router.post('/v1/transaction', body)
      const rows = [await now()]
      const session = { session_token: answer['session_token'] }
      expect(await eventual(session)).toMatchObject({ body: { rows } })
    })
  })

  it('sees what an open transaction has committed, and what its token already had', async () => {
    const before = await change()
    await paused(async () => {
      const begun = await router.post('/v1/transactions', { options: { ...keyspace, session_token: before } })
      const path = `/v1/transactions/${String(begun.body['transaction_id'])}`
      expect(await router.post(`${path}/execute`, { query: write })).toMatchObject({ status: 200 })
      const { body } = await router.post(`${path}/commit`, {})
      expect(body['session_token']).not.toBe(before)
      const session = { session_token: body['session_token'] }
      expect(await eventual(session)).toMatchObject({ body: { node: primaryId, rows: [await now()] } })
    })
  })

  it('believes no position of another timeline, and none that is not known', async () => {
    const token = await change()
    await expect.poll(async () => (await eventual({ session_token: token })).body['node']).toBe(replicaId)
    for (const other of [
      token.replace('=1.', '=2.'),
      'fs1,app/s0=1.ffffffffffffffff',
      'fs1,*',
      'fs1,app/s0=1.fffffffffffffff',
    ])
      expect((await eventual({ session_token: other })).body['node']).toBe(primaryId)
    // What was written elsewhere does not concern this shard.
    expect((await eventual({ session_token: 'fs1,app/s9=9.9' })).body['node']).toBe(replicaId)
  })

  it('asks the replica for its position only where what is known does not do', async () => {
    const token = await change()
    await expect.poll(async () => (await eventual({ session_token: token })).body['node']).toBe(replicaId)
    const { rows: then } = await replica.query(asked)
    for (let round = 0; round < 50; round += 1)
      expect((await eventual({ session_token: token })).body['node']).toBe(replicaId)
    const { rows: after } = await replica.query(asked)
    expect(after).toEqual(then)
  })
  /** When the router asked last. */
  const asked = `select max(query_start) as at from pg_stat_activity where query like '%pg_last_wal_replay_lsn%'
    and pid <> pg_backend_pid()`

  it('takes a replica within the staleness that is allowed, and idle is not late', async () => {
    await change()
    const within = (ms: number) => eventual({ max_staleness_ms: ms })
    await expect.poll(async () => (await within(60_000)).body['node']).toBe(replicaId)
    // Nothing is written, and nothing gets older by that.
    await expect.poll(async () => (await within(1_000)).body['node']).toBe(replicaId)
    await paused(async () => {
      await change()
      await expect.poll(async () => (await within(200)).body['node']).toBe(primaryId)
      expect((await within(200)).body['rows']).toEqual([await now()])
      expect((await within(600_000)).body['node']).toBe(replicaId)
    })
    await expect.poll(async () => (await within(1_000)).body['node']).toBe(replicaId)
    const strong = { query: read, consistency: 'strong', options: { ...keyspace, max_staleness_ms: 5 } }
    expect(await router.post('/v1/execute', strong)).toMatchObject({
      status: 400,
      body: { code: 'invalid_request' },
    })
    // The bound alone asks for eventual.
    const alone = { query: read, options: { ...keyspace, max_staleness_ms: 600_000 } }
    expect(await router.post('/v1/execute', alone)).toMatchObject({ body: { node: replicaId } })
  })

  it('waits while the server that leads by the map takes no commits yet', async () => {
    const before = router.snapshot()
    await router.replaced((snapshot) => ({
      ...snapshot,
      epoch: parseEpoch(snapshot.epoch + 1),
      keyspace: { ...snapshot.keyspace, durability: 'protection' },
      shards: snapshot.shards.map((shard) => ({
        ...shard,
        nodes: shard.nodes.map((node) => ({
          ...node,
          role: node.role === 'primary' ? 'replica' : 'primary',
        })),
      })),
    }))
    try {
      const options = { ...keyspace, timeout_ms: 500 }
      expect(await router.post('/v1/execute', { query: read, options })).toMatchObject({
        status: 504,
        body: { code: 'deadline_exceeded' },
      })
    } finally {
      await router.replaced((snapshot) => ({ ...before, epoch: parseEpoch(snapshot.epoch + 1) }))
    }
    expect(await now()).toBeDefined()
  })

  describe('on the Postgres port', () => {
    /** A session, and the token that it was told last. */
    const open = async (): Promise<{ wire: Client; token: () => string | null } & AsyncDisposable> => {
      const wire = new Client({ host: '127.0.0.1', port: router.wirePort, user: 'app', database: 'app' })
      let token: string | null = null
      const { connection } = wire as unknown as { connection: EventEmitter }
      connection.on('parameterStatus', (told: { parameterName: string; parameterValue: string }) => {
        if (told.parameterName === 'fleetshard.session_token') token = told.parameterValue
      })
      await wire.connect()
      return { wire, token: () => token, [Symbol.asyncDispose]: () => wire.end() }
    }
    const seen = async (wire: Client): Promise<unknown> => (await wire.query(read)).rows[0]

    it('reads what it has written, also what was written over HTTP, and the other way round', async () => {
      await using session = await open()
      const { wire, token } = session
      await wire.query("set fleetshard.consistency = 'eventual'")
      await wire.query(write)
      expect(token()).toBeNull()
      await wire.query("set fleetshard.session_token = ''")
      await paused(async () => {
        await wire.query(write)
        expect(token()).toMatch(/^fs1,app\/s0=1\.[0-9a-f]+$/)
        const rows = [await now()]
        expect(await seen(wire)).toEqual(rows[0])
        expect(await eventual({ session_token: token() })).toMatchObject({ body: { node: primaryId, rows } })
        expect((await wire.query('show fleetshard.session_token')).rows).toEqual([
          { 'fleetshard.session_token': token() },
        ])

        await using other = await open()
        await other.wire.query("set fleetshard.consistency = 'eventual'")
        expect(await seen(other.wire)).not.toEqual(rows[0])
        await other.wire.query(`set fleetshard.session_token = '${await change()}'`)
        expect(await seen(other.wire)).toEqual(await now())
      })
      // What it has written is replayed: it reads from the replica, which lacks what others have written since.
      await expect.poll(async () => (await eventual({ session_token: token() })).body['node']).toBe(replicaId)
      await paused(async () => {
        await change()
        expect(await seen(wire)).not.toEqual(await now())
      })
    })

    it('is told of a transaction at its commit, and of a pipeline at its end', async () => {
      await using session = await open()
      const { wire, token } = session
      await wire.query("set fleetshard.session_token = ''")
      await wire.query('begin')
      await wire.query(write)
      expect(token()).toBe('')
      await wire.query('commit')
      const first = token()
      expect(first).toMatch(/^fs1,/)
      await wire.query(read)
      expect(token()).toBe(first)
      await wire.query(`${write}; ${write}`)
      expect(token()).not.toBe(first)
      await wire.query('reset fleetshard.session_token')
      const last = token()
      await wire.query(write)
      expect(token()).toBe(last)
      await expect(wire.query("set fleetshard.session_token = 'nonsense'")).rejects.toMatchObject({
        code: '22023',
      })
    })

    it('takes a replica within the staleness that is allowed', async () => {
      await using session = await open()
      const { wire } = session
      await wire.query("set fleetshard.consistency = 'bounded'")
      await expect(wire.query(read)).rejects.toMatchObject({ code: '22023' })
      await wire.query('set fleetshard.max_staleness_ms = 60000')
      await seen(wire)
      await paused(async () => {
        await change()
        const newest = await now()
        expect(await seen(wire)).not.toEqual(newest)
        await wire.query('set fleetshard.max_staleness_ms = 200')
        await expect.poll(() => seen(wire)).toEqual(newest)
        await wire.query('set fleetshard.max_staleness_ms = 600000')
        expect(await seen(wire)).not.toEqual(newest)
        await wire.query("set fleetshard.consistency = 'strong'")
        expect(await seen(wire)).toEqual(newest)
      })
      await expect(wire.query("set fleetshard.max_staleness_ms = 'soon'")).rejects.toMatchObject({
        code: '22023',
      })
    })
  })

  it('goes to the primary when the replica is gone', async () => {
    const token = await change()
    await cluster.agent.stop(replicaId, { mode: 'immediate' })
    for (const options of [{ session_token: token }, { max_staleness_ms: 600_000 }])
      await expect.poll(async () => (await eventual(options)).body['node']).toBe(primaryId)
    expect(await eventual({ session_token: token })).toMatchObject({ body: { rows: [await now()] } })
    expect(router.snapshot().shards[0]?.id).toBe(parseShardId('s0'))
  })
})
