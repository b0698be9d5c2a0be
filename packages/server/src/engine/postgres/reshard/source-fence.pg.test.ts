// What becomes of routers' connections to a source that is fenced: nothing is answered there any more, and a write that
// the fence refuses is told so.
import { Client, DatabaseError } from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { parseEpoch, parseKeyspaceName, parseShardId, type TableRecord } from '@fleetshard/core'
import { routerApplicationPrefix } from '@fleetshard/routing/shard-state'
import { systemClock } from '../../../runtime/mod.ts'
import type { MovedTable } from '../../reshard-engine.ts'
import type { NodeTarget } from '../../shard-engine.ts'
import { claimOf, startVersion, targetOf, testEngine, testVersions } from '../testing.ts'
import { createPostgresReshardEngine } from './engine.ts'

const engine = createPostgresReshardEngine({ clock: systemClock })
const shard = parseShardId('a')
const epochMin = parseEpoch(7)
const users: TableRecord = {
  keyspace: parseKeyspaceName('app'),
  name: 'public.users',
  kind: 'sharded',
  keyColumn: 'user_id',
  keyType: 'text',
  homeShard: null,
  ddl: null,
  version: 1,
  createdAt: '2026-01-01T00:00:00.000Z',
}

describe.each(testVersions)('a source that is fenced on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  const clients: Client[] = []
  const { signal } = new AbortController()
  beforeAll(async () => {
    server = await startVersion(version)
  })
  afterEach(async () => {
    await Promise.allSettled(clients.splice(0).map((client) => client.end()))
  })
  afterAll(() => server[Symbol.asyncDispose]())

  async function makeSource(): Promise<NodeTarget> {
    const target = targetOf(server, await server.createDatabase())
    await testEngine.claim(target, claimOf('a'))
    await engine.prepare(target, signal)
    const client = await connect(target, 'test')
    // Planning a statement that has it takes a while, with the locks of its tables in hand.
    await client.query(
      `create table users (id int primary key, user_id text not null, n int);
       insert into users select i, 'user-' || i, 0 from generate_series(1, 10) i;
       create function slowly() returns int immutable language plpgsql as
         $$ begin perform pg_catalog.pg_sleep(0.01); return 1; end $$`,
    )
    return target
  }

  async function connect(target: NodeTarget, name = `${routerApplicationPrefix} r1`): Promise<Client> {
    const { host, port, database, user, password } = target
    const client = new Client({
      host,
      port,
      database,
      user,
      password: password ?? '',
      application_name: name,
    })
    client.on('error', () => undefined)
    clients.push(client)
    await client.connect()
    return client
  }

  const tablesOf = async (target: NodeTarget): Promise<readonly MovedTable[]> =>
    (await engine.inspectSource(target, [users], signal)).tables
  const fenceOf = (tables: readonly MovedTable[]) => {
    const message = 'job-1:fence:a:1'
    return { shard, job: 'job-1', run: 1, attempt: 1, tables, message, lockTimeoutMs: 5_000 }
  }

  it('refuses a write that waited for the fence, rather than cut it off without a word', async () => {
    const target = await makeSource()
    const tables = await tablesOf(target)
    await using cutover = await engine.openCutover(target, signal)
    expect(await cutover.prepareFence(tables)).toBeNull()
    const writer = await connect(target, 'test')
    await writer.query('begin; update users set n = 1 where id = 1')
    const looker = await connect(target, 'test')
    const waiting = (count: number) =>
      expect
        .poll(async () => {
          const { rows } = await looker.query(
            `select from pg_locks where not granted and relation = 'users'::regclass`,
          )
          return rows.length
        })
        .toBe(count)
    const placed = cutover.placeFence(fenceOf(tables))
    await waiting(1)
    const late = await connect(target)
    const refused = late.query('update users set n = slowly() where id = 2').then(
      () => null,
      (error: unknown) => (error instanceof DatabaseError ? error.code : String(error)),
    )
    await waiting(2)
    await writer.query('commit')
    expect(await placed).toEqual({ kind: 'placed' })
    await cutover.raiseEpoch({ shard, epochMin })
    expect(await refused).toBe('FS001')
  })

  it('answers nobody once the epoch is raised, whatever his connection did', async () => {
    const target = await makeSource()
    const names = ['idle', 'in a transaction', 'with a failed one', 'running'] as const
    const connected = await Promise.all(names.map(() => connect(target)))
    const [, open, failed, running] = connected
    await open?.query('begin; select count(*) from users')
    await failed?.query('begin; select 1 / 0').catch(() => undefined)
    const long = running?.query('select pg_sleep(60)').then(
      () => 'answered',
      () => 'ended',
    )
    await expect
      .poll(async () => {
        const other = clients[0]
        const found = await other?.query(`select from pg_stat_activity where wait_event = 'PgSleep'`)
        return found?.rowCount
      })
      .toBe(1)
    await engine.raiseEpoch(target, { shard, epochMin }, signal)
    const answers = await Promise.all(
      connected.map((client) =>
        client.query('select count(*) from users').then(
          () => 'answered',
          () => 'ended',
        ),
      ),
    )
    expect({ answers, long: await long }).toEqual({ answers: names.map(() => 'ended'), long: 'ended' })
    const other = await connect(target, 'test')
    expect((await other.query('select count(*)::int as n from users')).rows).toEqual([{ n: 10 }])
    expect(await testEngine.readIdentity(target, { signal })).toMatchObject({ epochMin })
  })
})
