// Clients while things break, by real signals: no acknowledged write is lost, none is done twice, and what may have
// happened is told as such.
import type { Shard, ShardList } from '@fleetshard/core/contract'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Cluster } from '../e2e/harness/cluster.ts'
import { until } from '../e2e/harness/until.ts'
import {
  clientOf,
  discrepancies,
  endSessions,
  killServer,
  startCatalog,
  startFaultCluster,
  startOwnRouter,
  stopCatalog,
  Writers,
} from './fault-cluster.ts'

let cluster: Cluster
beforeAll(async () => {
  cluster = await startFaultCluster()
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

const shards = async (): Promise<readonly Shard[]> =>
  (await cluster.manager<ShardList>('GET', '/api/v1/shards')).body.shards

describe.each(['http', 'direct'] as const)('in %s mode', (mode) => {
  it('a router that is killed loses no write and doubles none', async () => {
    const first = await startOwnRouter(cluster, `${mode}-first`)
    await using _first = first.process
    const second = await startOwnRouter(cluster, `${mode}-second`)
    await using _second = second.process
    await using db = await clientOf(mode, first.url, second.url)
    await using plain = new Writers(db, `${mode}-router`, { keyed: false, count: 8 })
    await using keyed = new Writers(db, `${mode}-router-keyed`, { keyed: true, count: 4 })
    await Promise.all([plain.more(50), keyed.more(20)])
    first.process.kill('SIGKILL')
    await Promise.all([plain.more(100), keyed.more(40)])
    await plain[Symbol.asyncDispose]()
    await keyed[Symbol.asyncDispose]()
    // Writes under a key are repeated at the other router; of the others some may be in doubt.
    expect(keyed.errors).toEqual([])
    expect(plain.aborted).toEqual([])
    if (mode === 'direct') expect(plain.errors).toEqual([])
    expect(await discrepancies(db, plain)).toEqual([])
    expect(await discrepancies(db, keyed)).toEqual([])
  })

  it('reads of replicas see what the session has written, from another client too', async () => {
    await using writer = await clientOf(mode, cluster.state.urls.router)
    await using reader = await clientOf(mode, cluster.state.urls.router)
    for (let number = 0; number < 50; number += 1) {
      const key = `${mode}-session-${String(number)}`
      await writer.sql`insert into events (user_id) values (${key})`
      const consistency = { session: writer.session }
      const read = await reader.query('select 1 from events where user_id = $1', [key], { consistency })
      expect(read.rowCount).toBe(1)
    }
  })

  it('reads of replicas go on when a replica is killed', async () => {
    await using db = await clientOf(mode, cluster.state.urls.router)
    const key = `${mode}-replica`
    await db.sql`insert into events (user_id) values (${key})`
    const read = () =>
      db.query('select user_id from events where user_id = $1', [key], { consistency: 'eventual' })
    await until('the replica has the row', async () => (await read()).rowCount === 1)
    const { shardId } = db.shardFor(key)
    const replica = (await shards())
      .find(({ id }) => id === shardId)
      ?.nodes.find(({ role }) => role === 'replica')
    await until('the replica is asked', async () => (await read()).node === replica?.id)
    killServer(cluster, replica?.id ?? '')
    for (let number = 0; number < 200; number += 1) expect((await read()).rowCount).toBe(1)
  })

  it('connections that the server ends in the middle of statements lose no write and double none', async () => {
    await using db = await clientOf(mode, cluster.state.urls.router)
    await using writers = new Writers(db, `${mode}-cut`, { keyed: false, count: 8 })
    await using keyed = new Writers(db, `${mode}-cut-keyed`, { keyed: true, count: 4 })
    await writers.more(50)
    for (let round = 0; round < 5; round += 1) {
      for (const shard of await shards()) await endSessions(cluster, shard)
      await Promise.all([writers.more(20), keyed.more(5)])
    }
    await writers[Symbol.asyncDispose]()
    await keyed[Symbol.asyncDispose]()
    // Too many ends in a row may leave a write undone, but under a key none is in doubt.
    expect(keyed.unknown).toEqual([])
    expect(await discrepancies(db, writers)).toEqual([])
    expect(await discrepancies(db, keyed)).toEqual([])
  })
})

it.each(['http', 'direct'] as const)(
  'statements in %s mode go on while the catalog is down',
  async (mode) => {
    await using db = await clientOf(mode, cluster.state.urls.router)
    await using writers = new Writers(db, `${mode}-catalog`, { keyed: false, count: 4 })
    await writers.more(20)
    await stopCatalog(cluster)
    try {
      await writers.more(200)
      await using later = await clientOf(mode, cluster.state.urls.router)
      expect(await later.sql`select 1 as one`).toEqual([{ one: 1 }])
    } finally {
      await startCatalog(cluster)
    }
    await writers[Symbol.asyncDispose]()
    expect(writers.errors).toEqual([])
    expect(await discrepancies(db, writers)).toEqual([])
  },
)

it('a shard that is added is known within a second, and a fence ends direct clients too', async () => {
  const clients = await Promise.all(
    (['http', 'direct'] as const).map((mode) => clientOf(mode, cluster.state.urls.router)),
  )
  try {
    for (const db of clients) {
      for (const shard of db.shards()) await shard.query('delete from events')
      await db.sql`select user_id from events where user_id = 'a'`
    }
    const created = await cluster.manager('POST', '/api/v1/shards', { name: 'shard-03', nodes: 'embedded' })
    const answered = performance.now()
    expect(created.status).toBe(201)
    for (const db of clients) await until('the third shard is known', () => db.shards().length === 3)
    expect(performance.now() - answered).toBeLessThan(1_000)
    for (const db of clients) {
      await using writers = new Writers(db, `${db.mode}-third`, { keyed: false, count: 4 })
      await writers.more(100)
      await writers[Symbol.asyncDispose]()
      expect(writers.errors).toEqual([])
      expect(await discrepancies(db, writers)).toEqual([])
    }
  } finally {
    await Promise.all(clients.map((db) => db.close()))
  }
})
