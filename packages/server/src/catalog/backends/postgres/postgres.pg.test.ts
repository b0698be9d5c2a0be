import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { silentLogger, systemClock } from '../../../runtime/mod.ts'
import { openCatalogStore } from '../../backends.ts'
import { testConformance } from '../../conformance.ts'
import { commit, failure, patience, put, readMap, record, told, until } from '../../conformance/harness.ts'
import { startTestPostgres, type TestPostgres } from '../../testing/postgres-server.ts'
import { openPostgresStore, type PostgresStore } from './mod.ts'

const deadlineMs = 3_000

function openStore(url: string): PostgresStore {
  return openPostgresStore(url, {
    clock: systemClock,
    log: silentLogger,
    applicationName: 'catalog test',
    deadlineMs,
  })
}

testConformance(
  'postgres',
  async () => {
    const server = await startTestPostgres(process.env['FLEETSHARD_PG_BIN'])
    const upkeep = openStore(server.url)
    return {
      open: () => openStore(server.url),
      compact: () => upkeep.compact(),
      ttlMsMin: 200,
      server,
      async [Symbol.asyncDispose]() {
        await upkeep[Symbol.asyncDispose]()
        await server[Symbol.asyncDispose]()
      },
    }
  },
  true,
)

describe('postgres backend', () => {
  let server: TestPostgres
  beforeAll(async () => {
    server = await startTestPostgres(process.env['FLEETSHARD_PG_BIN'])
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
  })

  async function connect(): Promise<Client> {
    const client = new Client({ connectionString: server.url })
    client.on('error', () => undefined)
    await client.connect()
    return client
  }

  const rawCommit = (client: Client, key: string) =>
    client.query(
      `select * from fleetshard_catalog.commit('{}', '{}', '{}', array[$1], array['raw'], array[null::uuid])`,
      [key],
    )

  it('installs itself once, from many processes at once', async () => {
    const stores = Array.from({ length: 6 }, () => openStore(server.url))
    const reads = await Promise.all(stores.map((store) => store.read('')))
    expect(reads.map(({ entries }) => entries)).toEqual(stores.map(() => []))
    for (const store of stores) await store[Symbol.asyncDispose]()
  })

  it('never shows a revision before a lower one that commits later', async () => {
    await using store = openStore(server.url)
    const { revision } = await store.read('late/')
    await using watched = record(store, 'late/', revision)
    const slow = await connect()
    await slow.query('begin')
    await rawCommit(slow, 'late/slow')
    const fast = store.commit([], [put('late/fast', '1')])
    // The fast one waits for the lock that the slow one holds.
    const waiting = await connect()
    await until('the fast commit waits', async () => {
      const { rows } = await waiting.query(
        `select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%fleetshard_catalog.commit%'`,
      )
      return rows.length === 1
    })
    expect(watched.events).toEqual([])
    await slow.query('commit')
    expect((await fast).kind).toBe('committed')
    await until('both were seen', () => watched.events.length === 2)
    expect(told(watched.events)).toEqual([['late/slow=raw'], ['late/fast=1']])
    await slow.end()
    await waiting.end()
  })

  it('tells nothing of a commit that was rolled back', async () => {
    await using store = openStore(server.url)
    const { revision } = await store.read('back/')
    const client = await connect()
    await client.query('begin')
    await rawCommit(client, 'back/a')
    await client.query('rollback')
    await client.end()
    await commit(store, [put('back/b', '1')])
    for await (const event of store.watch('back/', revision, patience())) {
      expect(told([event])).toEqual([['back/b=1']])
      break
    }
  })

  it('finds changes by polling when notifications are lost', async () => {
    await using store = openStore(server.url)
    const { revision } = await store.read('poll/')
    await using watched = record(store, 'poll/', revision)
    await commit(store, [put('poll/a', '1')])
    await until('the watch runs', () => watched.events.length === 1)
    const client = await connect()
    // Without the function's notify: as when the listening connection was cut just then.
    await client.query(`
      with taken as (update fleetshard_catalog.meta set revision = revision + 1 returning revision)
      insert into fleetshard_catalog.events (revision, position, key, value)
      select revision, 1, 'poll/b', 'silent' from taken`)
    await until('the change was seen', () => watched.events.length === 2)
    expect(told(watched.events)[1]).toEqual(['poll/b=silent'])
    await client.end()
  })

  it('counts an expired lease as ended although nobody has swept it', async () => {
    await using store = openStore(server.url)
    const { revision } = await store.read('swept/')
    await using watched = record(store, 'swept/', revision)
    const lease = await store.lease(60_000)
    await commit(store, [{ kind: 'put', key: 'swept/a', value: '1', lease }])
    const client = await connect()
    // Expiry and commit in one transaction: no sweeper can come between.
    await client.query('begin')
    await client.query(`update fleetshard_catalog.leases set expires_at = clock_timestamp() where id = $1`, [
      lease.id,
    ])
    const { rows } = await client.query<{ outcome: string }>(
      `select outcome from fleetshard_catalog.commit('{absent}', '{swept/a}', array[null::bigint],
        '{swept/a}', '{new}', array[null::uuid])`,
    )
    await client.query('commit')
    await client.end()
    expect(rows).toEqual([{ outcome: 'committed' }])
    await until('all was seen', () => watched.events.length === 3)
    expect(told(watched.events)).toEqual([['swept/a=1'], ['-swept/a'], ['swept/a=new']])
    await failure(lease.keepAlive(), 'lease_lost')
  })

  it('keeps the history within its bounds', async () => {
    await using store = openStore(server.url)
    const client = await connect()
    const eventsLeft = async (age: string, count: number, bytes: number): Promise<number> => {
      await client.query(`select fleetshard_catalog.compact($1::interval, $2, $3)`, [age, count, bytes])
      const { rows } = await client.query<{ n: number }>(
        `select count(*)::int as n from fleetshard_catalog.events`,
      )
      return rows[0]?.n ?? -1
    }
    for (let n = 0; n < 20; n++)
      await commit(store, [put('bound/a', String(n)), put('bound/b', 'x'.repeat(1000))])
    expect(await eventsLeft('1 hour', 30, 1_000_000)).toBe(30)
    expect(await eventsLeft('1 hour', 1000, 5_500)).toBe(10)
    // A cut through a revision takes the whole of it.
    expect(await eventsLeft('1 hour', 5, 1_000_000)).toBe(4)
    expect(await eventsLeft('0 seconds', 1000, 1_000_000)).toBe(0)
    expect(await readMap(store, 'bound/a')).toEqual(new Map([['bound/a', '19']]))
    await client.end()
  })

  it('takes a store that was replaced by an older one as compacted', async () => {
    await using store = openStore(server.url)
    const { revision } = await store.read('')
    const later = String(BigInt(revision) + 1000n) as typeof revision
    const events: unknown[] = []
    for await (const event of store.watch('', later, patience())) events.push(event)
    expect(events).toEqual([{ kind: 'compacted' }])
  })

  it('refuses a schema of a newer version', async () => {
    const client = await connect()
    await client.query('create database newer')
    const url = server.url.replace(/postgres$/, 'newer')
    await using first = openStore(url)
    await first.read('')
    const other = new Client({ connectionString: url })
    await other.connect()
    await other.query('update fleetshard_catalog.meta set schema_version = 999')
    await other.end()
    await using second = openStore(url)
    const error = await failure(second.read(''), 'invalid_config')
    expect(error.message).toContain('999')
    await client.end()
  })

  it('says so when its user may not make the schema', async () => {
    const client = await connect()
    await client.query(`create role poor login password 'poor'`)
    await client.query('create database poor')
    await client.end()
    const url = server.url.replace('postgres:catalog-test', 'poor:poor').replace(/postgres$/, 'poor')
    await using store = openStore(url)
    const error = await failure(store.read(''), 'invalid_config')
    expect(error.hint).toContain('schema')
  })

  it('never shows the password of its url', async () => {
    const url = new URL(server.url)
    url.password = 'wrong-and-secret'
    const options = { clock: systemClock, log: silentLogger }
    await using store = openCatalogStore(url.href, options)
    const error = await failure(store.read(''), 'catalog_unavailable')
    expect(JSON.stringify([error.message, error.hint, error.facts, String(error.cause)])).not.toContain(
      'secret',
    )
    expect(() => openCatalogStore('postgres://u:secret@h:nan/x', options)).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('secret') as string }) as Error,
    )
  })
})
