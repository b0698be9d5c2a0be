// A source or a target gets another primary while rows are on their way: slots and what was applied do not outlive
// that, so the copy begins anew by itself, and the job ends as if nothing had happened. SPEC.md, invariant 23.
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FleetError, parseJobId } from '@fleetshard/core'
import { startVersion, testVersions } from '../../engine/postgres/testing.ts'
import { startTestCluster, type TestCluster } from '../../local/testing.ts'
import { systemClock } from '../../runtime/mod.ts'
import { keyspace, makeFleet, type TestFleet } from './testing.ts'
import { withoutHold } from './turn.ts'

const testMsMax = 120_000
const [version] = testVersions
if (version === undefined) throw new Error('there is always the embedded server')

let server: Awaited<ReturnType<typeof startVersion>>
beforeAll(async () => {
  server = await startVersion(version)
})
afterAll(() => server[Symbol.asyncDispose]())

/** Names of effects before and after which something is to happen, in the order of their coming. */
const sourceSteps = [
  'after slot a',
  'after unit public.t 2',
  'after persist copied',
  'before persist verified',
  'before hold',
  'before flip',
]

describe('a job begins anew by itself when another server leads', () => {
  it.each(sourceSteps)('its source %s', (step) => expectMoved('a', [step]), testMsMax)

  it('its target', () => expectMoved('b', ['after persist copied']), testMsMax)

  it(
    'its source, wherever the worker dies while it begins anew (5, 10)',
    async () => {
      const steps = ['drop slot a', 'empty b', 'persist restarted', 'persist checked', 'slot a']
      await expectMoved(
        'a',
        ['after persist copied'],
        steps.flatMap((step) => [`before ${step}`, `after ${step}`]),
      )
    },
    testMsMax,
  )
})

it(
  'waits for a failover that is under way, and for its end alone',
  async () => {
    await using fleet = await filledFleet()
    const hold = { job: parseJobId('failover-1'), attempt: 1 }
    const setHold = (isHeld: boolean) =>
      fleet.catalog.changeRouting(keyspace, ({ shards }) => ({
        put: shards
          .filter(({ id }) => id === 'a')
          .map((shard) => (isHeld ? { ...shard, hold } : withoutHold(shard))),
      }))
    await setHold(true)
    const job = await fleet.submit({ kind: 'move' })
    expect(await fleet.runOnce(job)).toMatchObject({ kind: 'waiting' })
    expect((await fleet.job(job)).detail.waitsFor).toMatch(/shard a is held by the job failover-1/)
    await setHold(false)
    expect(await fleet.finish(job)).toMatchObject({ state: 'completed' })
  },
  testMsMax,
)

/** A move whose shard `led` gets another primary at the first of those steps; the worker dies once at each of `deaths`. */
async function expectMoved(
  led: 'a' | 'b',
  at: readonly string[],
  deaths: readonly string[] = [],
): Promise<void> {
  await using cluster = await startTestCluster({ shards: 1, replicas: 1, catalog: false })
  await using fleet = await filledFleet(cluster, led)
  const job = await fleet.submit({ kind: 'move' })
  let isLed = false
  const dying = new Set(deaths)
  const ended = await fleet.finish(job, async (name) => {
    if (!isLed && at.includes(name)) {
      isLed = true
      await promote(cluster, fleet, led)
      // The promotion has kept the fence.
      if (name === 'before flip') await expect(write(fleet, 3001)).rejects.toThrow(/moving/)
      else await write(fleet, 3001)
    }
    if (isLed && dying.delete(name)) throw new FleetError('shard_unavailable', `the worker ends ${name}`)
  })
  expect(isLed).toBe(true)
  expect([...dying]).toEqual([])
  expect(ended).toMatchObject({ state: 'completed', errorMessage: null })
  expect((await fleet.job(ended)).detail.restarts).toBe(1)
  const [there, here] = await Promise.all(
    ['a', 'b'].map((shard) => fleet.sql(shard, 'select * from t order by id')),
  )
  expect(here).toHaveLength(at.includes('before flip') ? 3000 : 3100)
  expect(here).toEqual(there)
  for (const shard of ['a', 'b']) {
    const [left] = await fleet.sql(
      shard,
      `select (select count(*)::int from pg_replication_slots where slot_type = 'logical'
                 and database = current_database()) as slots,
              (select count(*)::int from pg_publication) as publications`,
    )
    expect({ shard, ...left }).toEqual({ shard, slots: 0, publications: 0 })
  }
}

/** A shard with rows and one without; `led` lies on the cluster. */
async function filledFleet(cluster?: TestCluster, led = 'a'): Promise<TestFleet> {
  const fleet = await makeFleet(server, {
    sources: ['a'],
    targets: ['b'],
    ddl: 'create table t (id bigint primary key, key text not null, body text); create index on t (body)',
    ...(cluster === undefined ? {} : { on: { [led]: leader(cluster), spare: replicaOf(cluster) } }),
  })
  await fleet.declare('public.t', { column: 'key', type: 'text' })
  await fleet.sql('a', `insert into t select i, 'key-' || i, 'x' from generate_series(1, 3000) i`)
  return fleet
}

const write = (fleet: TestFleet, from: number): Promise<unknown> =>
  fleet.sql('a', `insert into t select i, 'key-' || i, 'y' from generate_series($1::int, $1 + 99) i`, [from])

const [groupName, shardDatabase] = ['shard-1', 'app']
const leader = (cluster: TestCluster) => serverOf(cluster.group(groupName).primary)
const replicaOf = (cluster: TestCluster) => {
  const [replica] = cluster.group(groupName).replicas
  if (replica === undefined) throw new Error('the group has a replica')
  return serverOf(replica)
}

function serverOf({ node, password }: ReturnType<TestCluster['group']>['primary']) {
  const { id, host, port, user } = node
  const createDatabase = () => Promise.resolve(shardDatabase)
  return { id, host, port, user, password, database: shardDatabase, createDatabase }
}

/** The primary dies, and its replica, which has everything, takes its place. */
async function promote(cluster: TestCluster, fleet: TestFleet, led: string): Promise<void> {
  const [former, next] = [leader(cluster), replicaOf(cluster)]
  const [row] = await fleet.sql(led, 'select pg_current_wal_lsn()::text as lsn')
  const client = new Client({ ...next, database: shardDatabase })
  await client.connect()
  const has = async (): Promise<boolean> => {
    const { rows } = await client.query<{ has: boolean }>(
      'select pg_last_wal_replay_lsn() >= $1::pg_lsn as has',
      [row?.['lsn']],
    )
    return rows[0]?.has === true
  }
  while (!(await has())) await systemClock.sleep(20)
  await client.end()
  await cluster.agent.fence(former.id)
  await cluster.agent.promote(next.id)
  await fleet.promoted(led, next)
}
