// The ring is dealt anew only while no row can be anywhere: invariant 2 at the moment that the map changes.
import { parseEpoch, parseShardId } from '@fleetshard/core'
import type { Client } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { FenceBody, FenceBodyOutcome, FenceRequest, NodeTarget } from '../shard-engine.ts'
import type { ShardStateRow } from '@fleetshard/routing/shard-state'
import { checkShardState, claimedDatabase, startVersion, testEngine, testVersions } from './testing.ts'

/** A body that announces nothing. */
const changing = (change: () => Promise<FenceBodyOutcome>): FenceBody => ({
  announce: () => Promise.resolve(null),
  change,
})

const never: FenceBody = {
  announce: () => Promise.reject(new Error('must not be announced')),
  change: () => Promise.reject(new Error('must not run')),
}

describe.each(testVersions)('fence of empty tables on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  let targets: readonly [NodeTarget, NodeTarget]
  let request: FenceRequest
  const clients: Client[] = []

  beforeAll(async () => {
    server = await startVersion(version)
  })
  afterAll(async () => {
    await Promise.allSettled(clients.map((client) => client.end()))
    await server[Symbol.asyncDispose]()
  })
  beforeEach(async () => {
    targets = [await claimedDatabase(server, 'a'), await claimedDatabase(server, 'b', { sequenceBlock: 1 })]
    for (const target of targets) {
      const client = await connect(target)
      await client.query(`create table users (user_id text primary key);
        create table events (user_id text not null, n int) partition by range (n);
        create table events_1 partition of events for values from (0) to (10)`)
    }
    request = {
      shards: targets.map((target, index) => ({ shard: parseShardId('ab'[index] ?? ''), target })),
      tables: ['public.users', 'public.events'],
      epochMin: parseEpoch(5),
      lockTimeoutMs: 2_000,
    }
  })

  async function connect(target: NodeTarget, name = 'test'): Promise<Client> {
    const client = await server.connect({ database: target.database })
    clients.push(client)
    await client.query(`select set_config('application_name', '${name}', false)`)
    return client
  }

  const epochs = async (): Promise<unknown[]> =>
    Promise.all(targets.map(async (target) => (await testEngine.readIdentity(target))?.epochMin))

  it('stores the epoch on every shard and ends routers when the catalog changed', async () => {
    const routers = await Promise.all(targets.map((target) => connect(target, 'fleetshard/router r1')))
    const result = await testEngine.fenceEmptyTables(
      request,
      changing(() => Promise.resolve('committed')),
    )
    expect(result).toEqual({ kind: 'fenced', outcome: 'committed' })
    expect(await epochs()).toEqual([5, 5])
    for (const router of routers) await expect(router.query('select 1')).rejects.toThrow()
  })

  it('lets nobody write while the catalog changes, not even a router that waits for its lock', async () => {
    const router = await connect(targets[1], 'fleetshard/router r1')
    const writes: Promise<unknown>[] = []
    const plain = await connect(targets[0])
    const change = async (): Promise<FenceBodyOutcome> => {
      await expect(router.query("insert into users values ('late')")).rejects.toThrow()
      writes.push(plain.query("insert into users values ('waits')").catch((error: unknown) => error))
      const watcher = await connect(targets[0])
      for (;;) {
        const { rows } = await watcher.query<{ n: number }>(
          'select count(*)::int as n from pg_locks where not granted',
        )
        if (rows[0]?.n === 1) break
      }
      expect((await watcher.query('select from users')).rowCount).toBe(0)
      return 'committed'
    }
    await testEngine.fenceEmptyTables(request, changing(change))
    await Promise.all(writes)
    const after = await connect(targets[1])
    expect((await after.query('select from users')).rowCount).toBe(0)
  })

  it('makes a router that comes back during the change see the new epoch', async () => {
    let checked: Promise<ShardStateRow> | undefined
    const change = async (): Promise<FenceBodyOutcome> => {
      const router = await connect(targets[0], 'fleetshard/router r2')
      checked = checkShardState(router)
      const watcher = await connect(targets[1])
      for (;;) {
        const { rows } = await watcher.query<{ n: number }>(
          "select count(*)::int as n from pg_locks where locktype = 'advisory' and not granted",
        )
        if (rows[0]?.n === 1) break
      }
      return 'committed'
    }
    await testEngine.fenceEmptyTables(request, changing(change))
    expect((await checked)?.epoch_min).toBe('5')
  })

  it('names the shard and the table that hold a row, partitions included, and changes nothing', async () => {
    const writer = await connect(targets[1])
    await writer.query("insert into events values ('u', 1)")
    const result = await testEngine.fenceEmptyTables(request, never)
    expect(result).toEqual({ kind: 'not-empty', shard: 'b', table: 'public.events' })
    expect(await epochs()).toEqual([1, 1])
    await writer.query("insert into users values ('not locked any more')")
  })

  it('is busy while a writer has its row uncommitted', async () => {
    const writer = await connect(targets[0])
    await writer.query('begin')
    await writer.query("insert into users values ('open')")
    const result = await testEngine.fenceEmptyTables({ ...request, lockTimeoutMs: 50 }, never)
    expect(result).toMatchObject({ kind: 'busy', shard: 'a' })
    await writer.query('rollback')
    expect(await epochs()).toEqual([1, 1])
  })

  it('has stored the epoch for good before the catalog changes, after it was announced', async () => {
    const seen: unknown[] = []
    await testEngine.fenceEmptyTables(request, {
      announce: async () => {
        seen.push(await epochs())
        return null
      },
      change: async () => {
        seen.push(await epochs())
        return 'committed'
      },
    })
    expect(seen).toEqual([
      [1, 1],
      [5, 5],
    ])
  })

  it('keeps an old map out although the fence dies with the catalog changed', async () => {
    const change = async (): Promise<FenceBodyOutcome> => {
      for (const target of targets) await endControlSessions(target)
      const router = await connect(targets[0], 'fleetshard/router r3')
      expect((await checkShardState(router)).epoch_min).toBe('5')
      return 'committed'
    }
    const result = await testEngine.fenceEmptyTables(request, changing(change))
    expect(result).toEqual({ kind: 'fenced', outcome: 'committed' })
    expect(await epochs()).toEqual([5, 5])
  })

  it('changes nothing when it cannot be announced', async () => {
    const announce = (): Promise<null> => Promise.reject(new Error('no catalog'))
    const fenced = testEngine.fenceEmptyTables(request, { ...never, announce })
    await expect(fenced).rejects.toThrow('no catalog')
    expect(await epochs()).toEqual([1, 1])
  })

  it.each(['conflict', 'unknown', 'throws'] as const)(
    'lets the tables go, but keeps the epoch, when the catalog did not change: %s',
    async (how) => {
      const change = (): Promise<FenceBodyOutcome> =>
        how === 'throws' ? Promise.reject(new Error('certainly not')) : Promise.resolve(how)
      const fenced = testEngine.fenceEmptyTables(request, changing(change))
      if (how === 'throws') await expect(fenced).rejects.toThrow('certainly not')
      else await fenced
      expect(await epochs()).toEqual([5, 5])
      const writer = await connect(targets[0])
      await writer.query("insert into users values ('free')")
    },
  )

  it('does not change the catalog when a shard is lost before it has the epoch', async () => {
    const result = await testEngine.fenceEmptyTables(request, {
      ...never,
      announce: async () => {
        await endControlSessions(targets[1])
        return null
      },
    })
    expect(result).toMatchObject({ kind: 'busy', shard: 'b' })
  })

  async function endControlSessions({ database }: NodeTarget): Promise<void> {
    const killer = await server.connect({ superuser: true, database })
    clients.push(killer)
    await killer.query(
      `select pg_terminate_backend(pid, 5000) from pg_stat_activity
        where application_name = 'fleetshard/control' and datname = current_database()`,
    )
  }

  it('refuses a database that is not the shard, and a table that is missing', async () => {
    const [first, second] = request.shards
    if (first === undefined || second === undefined) throw new Error('two shards')
    const swapped = [
      { shard: first.shard, target: second.target },
      { shard: second.shard, target: first.target },
    ]
    await expect(testEngine.fenceEmptyTables({ ...request, shards: swapped }, never)).rejects.toMatchObject({
      code: 'wrong_database',
    })
    const missing = { ...request, tables: ['public.users', 'public.gone'] }
    await expect(testEngine.fenceEmptyTables(missing, never)).rejects.toMatchObject({ code: 'not_found' })
    const unreachable = {
      ...request,
      shards: [first, { shard: second.shard, target: { ...second.target, port: 1 } }],
    }
    await expect(testEngine.fenceEmptyTables(unreachable, never)).rejects.toMatchObject({
      code: 'shard_unavailable',
    })
    expect(await epochs()).toEqual([1, 1])
  })

  it('finds the first table that holds rows', async () => {
    const writer = await connect(targets[0])
    const tables = ['public.gone', 'public.users', 'public.events']
    expect(await testEngine.findRows(targets[0], tables)).toBeNull()
    await writer.query("insert into events values ('u', 1)")
    expect(await testEngine.findRows(targets[0], tables)).toBe('public.events')
  })
})
