// Shards over HTTP, with the memory store and simulated databases.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMemoryBackend } from '../../catalog/backends/memory/mod.ts'
import { systemClock } from '../../runtime/mod.ts'
import { startManager, type Reply, type RunningManager } from './testing/managers.ts'
import { simulate, type SimulatedDatabase, type Simulation } from './testing/simulated-engine.ts'

let simulation: Simulation
let one: RunningManager

beforeEach(async () => {
  simulation = simulate()
  const store = createMemoryBackend({ clock: systemClock }).open()
  one = await startManager({ store, engine: simulation.engine })
  await one.leads()
})
afterEach(async () => {
  await one[Symbol.asyncDispose]()
})

const endpoint = (database: string): string => `postgres://app@127.0.0.1:5432/${database}`
const databaseOf = (name: string): SimulatedDatabase => simulation.database(`127.0.0.1:5432/${name}`)

async function addShard(name: string, more: object = {}): Promise<Reply> {
  databaseOf(name)
  return one.send('POST', '/api/v1/shards', { name, primary_endpoint: endpoint(name), ...more })
}

async function declareUsers(): Promise<void> {
  for (const shard of (await one.send('GET', '/api/v1/shards?vnodes=false')).body.shards) {
    databaseOf(shard.name).tables.set('public.users', 0)
  }
  const answer = await one.send('POST', '/api/v1/keyspaces/default/tables', {
    name: 'users',
    kind: 'sharded',
    key_column: 'user_id',
  })
  expect(answer.status).toBe(201)
}

/** Shares of the ring by shard; fails when the ranges leave a gap or overlap. */
async function shares(): Promise<Record<string, number>> {
  const { body } = await one.send('GET', '/api/v1/shards')
  const found: Record<string, number> = {}
  const ranges: { start: bigint; end: bigint }[] = []
  for (const shard of body.shards) {
    found[shard.id] = 0
    for (const range of shard.ranges ?? []) {
      ranges.push({ start: BigInt(range.start), end: BigInt(range.end) })
      found[shard.id]! += Number(BigInt(range.end) - BigInt(range.start) + 1n) / 2 ** 64
    }
  }
  let next = 0n
  for (const { start, end } of ranges.toSorted((a, b) => (a.start < b.start ? -1 : 1))) {
    expect(start).toBe(next)
    next = end + 1n
  }
  if (ranges.length > 0) expect(next).toBe(2n ** 64n)
  return found
}

describe('creating shards', () => {
  it('checks and claims on one connection, and releases on one when the shard is deleted', async () => {
    databaseOf('a')
    const before = simulation.connections()
    const answer = await one.send('POST', '/api/v1/shards', { name: 'a', primary_endpoint: endpoint('a') })
    expect([answer.status, simulation.connections() - before]).toEqual([201, 1])
    expect((await one.send('DELETE', '/api/v1/shards/a')).status).toBe(204)
    expect(simulation.connections() - before).toBe(2)
  })

  it('takes the request of the reference: the first shard owns the whole ring', async () => {
    databaseOf('a')
    const answer = await one.send('POST', '/api/v1/shards', {
      name: 'shard-01',
      primary_endpoint: endpoint('a'),
      replicas: [],
      vnode_count: 256,
    })
    expect(answer.status).toBe(201)
    expect(answer.headers.get('location')).toBe('/api/v1/shards/shard-01')
    expect(answer.headers.get('etag')).toBe('"1"')
    expect(answer.body).toMatchObject({
      id: 'shard-01',
      keyspace: 'default',
      status: 'active',
      status_reason: null,
      version: 1,
      hash_range_start: '0',
      hash_range_end: '18446744073709551615',
      ranges: [{ start: '0', end: '18446744073709551615' }],
      vnode_count: 256,
      primary_endpoint: endpoint('a'),
      replicas: [],
    })
    expect(answer.body.vnodes).toHaveLength(256)
    expect((await one.send('GET', '/api/v1/shards/shard-01')).body).toEqual(answer.body)
    expect(databaseOf('a').identity).toMatchObject({
      shard: 'shard-01',
      keyspace: 'default',
      sequenceBlock: 0,
    })
  })

  it('deals the ring anew while no sharded table holds a row, and moves only ranges of the new shard', async () => {
    await addShard('a')
    const before = (await one.send('GET', '/api/v1/shards/a')).body
    const second = await addShard('b')
    expect(second.body).toMatchObject({ status: 'active', vnode_count: 256, hash_range_start: null })
    expect((await one.send('GET', '/api/v1/shards/a')).body.vnodes).toEqual(before.vnodes)
    await addShard('c')
    const found = await shares()
    for (const share of Object.values(found)) expect(share).toBeCloseTo(1 / 3, 1)
  })

  it('leaves a shard inactive, with the reason, once a sharded table holds a row', async () => {
    await addShard('a')
    await declareUsers()
    databaseOf('a').tables.set('public.users', 1)
    databaseOf('b').tables.set('public.users', 0)
    const answer = await addShard('b')
    expect(answer.status).toBe(201)
    expect(answer.body).toMatchObject({
      status: 'inactive',
      vnode_count: 0,
      hash_range_start: null,
      ranges: [],
    })
    expect(answer.body.status_reason).toContain('public.users holds rows on shard a')
    expect(await shares()).toEqual({ a: 1, b: 0 })
  })

  it('leaves a shard inactive when the locks cannot be had, and deals on a later request', async () => {
    await addShard('a')
    await declareUsers()
    databaseOf('a').isBusy = true
    databaseOf('b').tables.set('public.users', 0)
    expect((await addShard('b')).body).toMatchObject({ status: 'inactive' })
    const refused = await one.send('PATCH', '/api/v1/shards/b', { status: 'active' })
    expect(refused.status).toBe(409)
    databaseOf('a').isBusy = false
    const activated = await one.send('PATCH', '/api/v1/shards/b', { status: 'active' })
    expect(activated.body).toMatchObject({ status: 'active', status_reason: null, vnode_count: 256 })
    expect((await shares())['b']).toBeCloseTo(0.5, 1)
  })

  it('raises the epoch on the shards that lose ranges before the map is public', async () => {
    await addShard('a')
    await declareUsers()
    databaseOf('b').tables.set('public.users', 0)
    const { epoch } = (await addShard('b')).body
    expect(databaseOf('a').identity?.epochMin).toBe(epoch)
  })

  it('says what an adopted table lacks on the new server', async () => {
    await addShard('a')
    await declareUsers()
    const { body } = await addShard('b')
    expect(body.status).toBe('inactive')
    expect(body.status_reason).toContain('lacks public.users')
  })

  it('refuses a new shard whose tables hold rows already', async () => {
    await addShard('a')
    await declareUsers()
    databaseOf('b').tables.set('public.users', 7)
    const { body } = await addShard('b')
    expect(body.status).toBe('inactive')
    expect(body.status_reason).toContain('holds rows already')
  })

  it('gives every shard a sequence block of its own, also after a deletion', async () => {
    await addShard('a')
    await addShard('b')
    await one.send('DELETE', '/api/v1/shards/b')
    await addShard('c')
    expect(databaseOf('c').identity?.sequenceBlock).toBe(2)
  })

  it('creates many at once, each with a place of its own', async () => {
    await addShard('s0')
    const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => addShard(`s${String(i + 1)}`)))
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201))
    const found = await shares()
    expect(Object.keys(found)).toHaveLength(21)
    for (const share of Object.values(found)) expect(share).toBeGreaterThan(0.03)
    const { body } = await one.send('GET', '/api/v1/keyspaces/default')
    expect(body).toMatchObject({ shard_count: 21, epoch: 22 })
  })

  it('makes an id from a name that is not one, and keeps ids unique over keyspaces', async () => {
    expect((await addShard('a', { name: 'My shard.1' })).body.id).toBe('My-shard-1')
    await one.send('POST', '/api/v1/keyspaces', { name: 'other' })
    expect((await addShard('b', { name: 'My shard.1', keyspace: 'other' })).body.id).toBe('other-My-shard-1')
  })
})

describe('refusals of new shards', () => {
  it('refuses a name that is taken, also by one that is being created', async () => {
    await addShard('a')
    databaseOf('b')
    const again = await one.send('POST', '/api/v1/shards', { name: 'a', primary_endpoint: endpoint('b') })
    expect(again).toMatchObject({ status: 409, body: { code: 'already_exists' } })
    databaseOf('x')
    databaseOf('y')
    const both = await Promise.all([
      one.send('POST', '/api/v1/shards', { name: 'n', primary_endpoint: endpoint('x') }),
      one.send('POST', '/api/v1/shards', { name: 'n', primary_endpoint: endpoint('y') }),
    ])
    expect(both.map(({ status }) => String(status)).toSorted()).toEqual(['201', '409'])
  })

  it('refuses a database that another shard has, and names the shard', async () => {
    await addShard('a')
    const answer = await one.send('POST', '/api/v1/shards', { name: 'b', primary_endpoint: endpoint('a') })
    expect(answer).toMatchObject({
      status: 422,
      body: { code: 'node_check_failed', field: 'primary_endpoint' },
    })
    expect(answer.body.detail).toContain('shard a')
    expect((await one.send('GET', '/api/v1/shards/b')).status).toBe(404)
    expect(databaseOf('a').identity?.shard).toBe('a')
  })

  it('lets one of two win that claim the same database at once', async () => {
    databaseOf('same')
    const both = await Promise.all(
      ['p', 'q'].map((name) =>
        one.send('POST', '/api/v1/shards', { name, primary_endpoint: endpoint('same') }),
      ),
    )
    expect(both.map(({ status }) => String(status)).toSorted()).toEqual(['201', '422'])
  })

  it('takes over a claim that a failed creation left behind', async () => {
    await addShard('a')
    const cluster = databaseOf('a').identity?.cluster ?? ''
    const left = databaseOf('b')
    left.identity = { ...databaseOf('a').identity!, cluster, shard: 'gone' as never, sequenceBlock: 99 }
    expect((await addShard('b')).status).toBe(201)
    expect(left.identity).toMatchObject({ shard: 'b' })
  })

  it('never takes a database of another cluster', async () => {
    await addShard('a')
    const foreign = databaseOf('b')
    foreign.identity = { ...databaseOf('a').identity!, cluster: 'another', shard: 'gone' as never }
    expect((await addShard('b')).status).toBe(422)
    expect(foreign.identity).toMatchObject({ cluster: 'another' })
  })

  it.each([
    ['is down', { isReachable: false }, 'cannot be reached'],
    ['is a replica', { inRecovery: true }, 'is a replica'],
    ['is read-only', { readOnly: true }, 'read-only'],
    ['is too old', { versionNumber: 130_010 }, 'Postgres'],
    ['wants another password', { password: 'other' }, 'refused'],
  ])('refuses a primary that %s, and leaves nothing behind', async (_what, state, message) => {
    Object.assign(databaseOf('a'), state)
    const answer = await addShard('a')
    expect(answer).toMatchObject({ status: 422, body: { code: 'node_check_failed' } })
    expect(answer.body.detail).toContain(message)
    expect(databaseOf('a').identity).toBeNull()
    expect((await one.send('GET', '/api/v1/shards')).body.shards).toEqual([])
  })

  it('refuses a replica that is none, or of another primary', async () => {
    const primary = databaseOf('a')
    const replica = simulation.database('127.0.0.1:5433/a')
    const body = { name: 'a', primary_endpoint: endpoint('a'), replicas: ['postgres://app@127.0.0.1:5433/a'] }
    expect((await one.send('POST', '/api/v1/shards', body)).body.detail).toContain('is no replica')
    replica.inRecovery = true
    expect((await one.send('POST', '/api/v1/shards', body)).body.detail).toContain('another server')
    expect(primary.identity).toBeNull()
    replica.systemId = primary.systemId
    replica.upstream = primary
    const answer = await one.send('POST', '/api/v1/shards', body)
    expect(answer).toMatchObject({ status: 201, body: { replicas: ['postgres://app@127.0.0.1:5433/a'] } })
    expect(answer.body.nodes.map((node: { role: string }) => node.role)).toEqual(['primary', 'replica'])
  })

  it.each([
    ['no endpoint', {}, 'primary_endpoint'],
    ['both ways', { primary_endpoint: endpoint('a'), nodes: 'embedded' }, 'embedded'],
    ['replica_count with endpoints', { primary_endpoint: endpoint('a'), replica_count: 1 }, 'replica_count'],
    ['an agent with endpoints', { primary_endpoint: endpoint('a'), agent: 'db1' }, 'agent'],
    ['the same server twice', { primary_endpoint: endpoint('a'), replicas: [endpoint('a')] }, 'same server'],
    ['a foreign scheme', { primary_endpoint: 'mysql://x' }, 'postgres://'],
    ['too many vnodes', { primary_endpoint: endpoint('a'), vnode_count: 5000 }, 'vnode_count'],
  ])('refuses %s', async (_what, more, message) => {
    const answer = await one.send('POST', '/api/v1/shards', { name: 'a', ...more })
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
    expect(answer.body.detail).toContain(message)
  })

  it('refuses embedded nodes where no agent is', async () => {
    const answer = await one.send('POST', '/api/v1/shards', { name: 'a', nodes: 'embedded' })
    expect(answer).toMatchObject({ status: 503, body: { code: 'agent_unavailable' } })
  })

  it('refuses a keyspace that does not exist', async () => {
    const answer = await addShard('a', { keyspace: 'nowhere' })
    expect(answer).toMatchObject({ status: 404, body: { code: 'not_found' } })
  })
})

describe('passwords', () => {
  it('are in no answer, no record of a node and no audit entry, and reused for the same server and login', async () => {
    Object.assign(databaseOf('a'), { password: 'hunter2' })
    Object.assign(databaseOf('b'), { password: 'hunter2' })
    const first = await one.send('POST', '/api/v1/shards', {
      name: 'a',
      primary_endpoint: 'postgres://app:hunter2@127.0.0.1:5432/a',
    })
    expect(first.status).toBe(201)
    expect((await addShard('b')).status).toBe(201)
    const topology = await one.send('GET', '/api/v1/topology')
    const everything = JSON.stringify([first.body, topology.body, one.audit])
    expect(everything).not.toContain('hunter2')
    const nodes = (await one.catalog.keyspaces.read('default' as never))?.snapshot.shards.flatMap(
      ({ nodes: all }) => all,
    )
    expect(nodes?.map(({ secretRef }) => secretRef)).toEqual(['catalog:node-a-1', 'catalog:node-a-1'])
    expect(await one.catalog.secrets.get('node-a-1')).toBe('hunter2')
    await one.send('DELETE', '/api/v1/shards/a')
    expect(await one.catalog.secrets.get('node-a-1')).toBe('hunter2')
    await one.send('DELETE', '/api/v1/shards/b')
    expect(await one.catalog.secrets.get('node-a-1')).toBeNull()
  })
})

describe('changing shards', () => {
  it('guards a change by If-Match, and answers with the next version', async () => {
    await addShard('a')
    const changed = await one.send('PATCH', '/api/v1/shards/a', { status: 'readonly' }, { 'if-match': '"1"' })
    expect(changed).toMatchObject({ status: 200, body: { status: 'readonly', version: 2 } })
    expect(changed.headers.get('etag')).toBe('"2"')
    const stale = await one.send('PATCH', '/api/v1/shards/a', { status: 'active' }, { 'if-match': '"1"' })
    expect(stale).toMatchObject({ status: 412, body: { code: 'version_mismatch' } })
    expect((await one.send('DELETE', '/api/v1/shards/a', undefined, { 'if-match': '1' })).status).toBe(412)
    const odd = await one.send('PATCH', '/api/v1/shards/a', { status: 'active' }, { 'if-match': 'abc' })
    expect(odd.status).toBe(400)
    expect(
      (await one.send('PATCH', '/api/v1/shards/a', { status: 'active' }, { 'if-match': '*' })).status,
    ).toBe(200)
  })

  it('lets one of two changes with the same version win', async () => {
    await addShard('a')
    const both = await Promise.all(
      ['readonly', 'inactive'].map((status) =>
        one.send('PATCH', '/api/v1/shards/a', { status }, { 'if-match': '"1"' }),
      ),
    )
    expect(both.map(({ status }) => String(status)).toSorted()).toEqual(['200', '412'])
  })

  it('renames, keeps the id, and refuses a name that is taken', async () => {
    await addShard('a')
    await addShard('b')
    expect((await one.send('PATCH', '/api/v1/shards/a', { name: 'main' })).body).toMatchObject({
      id: 'a',
      name: 'main',
    })
    expect((await one.send('PATCH', '/api/v1/shards/b', { name: 'main' })).status).toBe(409)
  })

  it('replaces replicas, after they were checked', async () => {
    await addShard('a')
    const replica = simulation.database('127.0.0.1:5433/a')
    const body = { replicas: ['postgres://app@127.0.0.1:5433/a'] }
    expect((await one.send('PATCH', '/api/v1/shards/a', body)).status).toBe(422)
    Object.assign(replica, {
      inRecovery: true,
      systemId: databaseOf('a').systemId,
      upstream: databaseOf('a'),
    })
    expect((await one.send('PATCH', '/api/v1/shards/a', body)).body.replicas).toEqual(body.replicas)
    expect((await one.send('PATCH', '/api/v1/shards/a', { replicas: [] })).body.replicas).toEqual([])
  })

  it('will not set a shard active whose database is not its own any more', async () => {
    await addShard('a')
    await one.send('PATCH', '/api/v1/shards/a', { status: 'inactive' })
    databaseOf('a').identity = null
    expect(await one.send('PATCH', '/api/v1/shards/a', { status: 'active' })).toMatchObject({ status: 422 })
  })

  it.each([
    [{}, 'no field'],
    [{ status: 'migrating' }, 'status'],
    [{ version: 3 }, '"version"'],
    [{ name: '' }, 'name'],
  ])('refuses %j', async (body, message) => {
    await addShard('a')
    const answer = await one.send('PATCH', '/api/v1/shards/a', body)
    expect(answer.status).toBe(400)
    expect(answer.body.detail).toContain(message)
  })
})

describe('deleting shards', () => {
  it('gives the ranges of an empty shard to its successors and frees the database', async () => {
    await addShard('a')
    await addShard('b')
    await declareUsers()
    expect((await one.send('DELETE', '/api/v1/shards/b')).status).toBe(204)
    expect(await shares()).toEqual({ a: 1 })
    expect(databaseOf('b').identity).toBeNull()
    expect((await one.send('GET', '/api/v1/shards/b')).status).toBe(404)
  })

  it('refuses a shard that holds rows', async () => {
    await addShard('a')
    await addShard('b')
    await declareUsers()
    databaseOf('b').tables.set('public.users', 3)
    const answer = await one.send('DELETE', '/api/v1/shards/b')
    expect(answer).toMatchObject({ status: 409, body: { code: 'conflict', retryable: false } })
    expect(answer.body.detail).toContain('public.users')
    expect((await shares())['b']).toBeGreaterThan(0)
  })

  it('deletes the last shard only while the keyspace holds no row', async () => {
    await addShard('a')
    await declareUsers()
    databaseOf('a').tables.set('public.users', 3)
    expect((await one.send('DELETE', '/api/v1/shards/a')).status).toBe(409)
    databaseOf('a').tables.set('public.users', 0)
    expect((await one.send('DELETE', '/api/v1/shards/a')).status).toBe(204)
    expect((await one.send('DELETE', '/api/v1/keyspaces/default')).status).toBe(204)
  })

  it('deletes a shard that owns nothing although its server is gone', async () => {
    await addShard('a')
    await declareUsers()
    databaseOf('a').tables.set('public.users', 1)
    await addShard('b')
    databaseOf('b').isReachable = false
    expect((await one.send('DELETE', '/api/v1/shards/b')).status).toBe(204)
  })

  it('answers 404 for one that does not exist', async () => {
    expect(await one.send('DELETE', '/api/v1/shards/none')).toMatchObject({ status: 404 })
  })
})

describe('listing shards', () => {
  it('filters by keyspace and status, and leaves tokens out on request', async () => {
    await addShard('a')
    await one.send('POST', '/api/v1/keyspaces', { name: 'other' })
    await addShard('b', { keyspace: 'other' })
    await one.send('PATCH', '/api/v1/shards/b', { status: 'readonly' })
    const ids = async (query: string): Promise<string[]> =>
      (await one.send('GET', `/api/v1/shards${query}`)).body.shards.map(({ id }: { id: string }) => id)
    expect(await ids('')).toEqual(['a', 'b'])
    expect(await ids('?keyspace=other')).toEqual(['b'])
    expect(await ids('?status=active')).toEqual(['a'])
    const [brief] = (await one.send('GET', '/api/v1/shards?vnodes=false')).body.shards
    expect(brief).not.toHaveProperty('vnodes')
    expect(brief).toMatchObject({ vnode_count: 256, hash_range_start: '0' })
    expect((await one.send('GET', '/api/v1/shards?keyspace=none')).status).toBe(404)
  })
})
