// A primary that is gone for good, under writers: a replica leads, writers feel a pause, nothing that was acknowledged
// under quorum commit is lost, and the former primary comes back as a replica.
import { readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AuditList, Failover, FailoverList, Shard, ShardList } from '@fleetshard/core/contract'
import { Ledger } from '../faults/ledger/ledger.ts'
import { ledgerDdl, readLedger, writeLedger, type Execute } from '../faults/ledger/writers.ts'
import { startCluster, type Cluster } from './harness/cluster.ts'
import { eventsOf } from './harness/events.ts'
import { kill9 } from './harness/processes.ts'
import { keyOn, ownerOf, shardMapOf } from './harness/shard-map.ts'
import { until } from './harness/until.ts'

let cluster: Cluster
const ledger = new Ledger()
const execute: Execute = (body) => cluster.execute(body)

beforeAll(async () => {
  cluster = await startCluster({ up: ['--replicas', '2', '--shards', '1'] })
  const answer = await cluster.manager('POST', '/api/v1/keyspaces/default/tables', {
    name: 'ledger',
    key_column: 'key',
    ddl: ledgerDdl,
    wait_ms: 60_000,
  })
  expect(answer.status).toBe(201)
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

async function shard(): Promise<Shard> {
  const [found] = (await cluster.manager<ShardList>('GET', '/api/v1/shards')).body.shards
  if (found === undefined) throw new Error('there is no shard')
  return found
}
const failovers = async (): Promise<readonly Failover[]> =>
  (await cluster.manager<FailoverList>('GET', `/api/v1/shards/${(await shard()).id}/failovers`)).body
    .failovers
const primaryOf = ({ nodes }: Shard): string => nodes.find(({ role }) => role === 'primary')?.id ?? ''
const dataOf = (server: string): string => join(cluster.dataDir, 'servers', server, 'data')
const pidOf = (server: string): number =>
  Number(readFileSync(join(dataOf(server), 'postmaster.pid'), 'utf8').split('\n')[0])

async function underWriters(name: string, work: () => Promise<void>): Promise<number> {
  const stop = new AbortController()
  const writing = writeLedger(ledger, execute, { writers: 8, keysPerWriter: 100, name, signal: stop.signal })
  writing.catch(() => undefined) // met below
  const before = ledger.acknowledged
  await until('writers are at work', () => ledger.acknowledged > before + 200)
  await work()
  const after = ledger.acknowledged
  await until('writers go on', () => ledger.acknowledged > after + 200)
  stop.abort()
  const { writesMs } = await writing
  const map = await shardMapOf(cluster)
  const keys = new Map(map.owners.map(({ id }) => [id as string, keyOn(map, id)]))
  const account = ledger.account(await readLedger(execute, keys), (key) => ownerOf(map, key))
  expect(account).toMatchObject({ lost: [], duplicated: [], misplaced: [], stale: [], holds: true })
  return Math.max(...writesMs)
}

test('kill -9 of a primary that cannot start again: a replica leads, and it comes back as one', async () => {
  const before = await shard()
  const old = primaryOf(before)

  const longestMs = await underWriters('kill', async () => {
    renameSync(join(dataOf(old), 'global', 'pg_control'), join(dataOf(old), 'global', 'pg_control.gone'))

    kill9(pidOf(old))
    await until('another one leads', async () => primaryOf(await shard()) !== old)
  })
  expect(longestMs).toBeLessThan(10_000)
  expect((await shard()).term).toBe(before.term + 1)
  await until('the former primary is a replica', async () =>
    (await shard()).nodes.some(({ id, role }) => id === old && role === 'replica'),
  )
  await until('nothing is under way', async () => (await failovers())[0]?.status === 'completed')
  expect((await failovers())[0]).toMatchObject({
    type: 'failover',
    proof: { kind: 'death' },
    loss_bytes_max: 0,
  })
  const audit = await cluster.manager<AuditList>('GET', '/api/v1/audit')
  expect(audit.body.records.find(({ what }) => what === 'failover.declare')).toMatchObject({
    who: { kind: 'system', subject: 'health' },
    target: `default/${before.name}`,
    before: { primary: old },
  })
  // As it was seen: each line goes on from the one before, over suspect to down.
  const seen = eventsOf(cluster, 'primary_seen')
  expect(seen.every((line) => line['shard'] === before.id)).toBe(true)
  const down = seen.findIndex(({ kind }) => kind === 'down')
  expect(seen[0]).toMatchObject({ before: 'healthy' })
  expect(seen[down]).toMatchObject({ before: seen[down - 1]?.['kind'] })
})

test('a switchover by the command line loses nothing, and failback is another one', async () => {
  const before = await shard()
  const old = primaryOf(before)
  await underWriters('switch', async () => {
    const { code, out, err } = await cluster.cli('switchover', before.id, '--reason', 'a test')
    expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' })
    expect(out).toContain('switchover')
  })
  await until('the former primary is a replica', async () =>
    (await shard()).nodes.some(({ id, role }) => id === old && role === 'replica'),
  )
  expect(primaryOf(await shard())).not.toBe(old)
  await until('nothing is under way', async () => (await failovers())[0]?.status === 'completed')
  await underWriters('back', async () => {
    expect((await cluster.cli('switchover', before.id, '--to', old)).code).toBe(0)
  })
  expect(primaryOf(await shard())).toBe(old)
  await until('nothing is under way', async () => (await failovers())[0]?.status === 'completed')
  expect((await failovers())[0]).toMatchObject({
    type: 'switchover',
    loss_bytes_max: 0,
  })
})

test('without its replicas a shard waits, then goes on without them, and is told so; with them it waits again', async () => {
  const before = await shard()
  const replicas = before.nodes.filter(({ role }) => role === 'replica').map(({ id }) => id)
  const controlOf = (id: string): string => join(dataOf(id), 'global', 'pg_control')
  for (const id of replicas) {
    renameSync(controlOf(id), `${controlOf(id)}.gone`)
    kill9(pidOf(id))
  }
  const map = await shardMapOf(cluster)
  const key = keyOn(map, before.id)
  const insert = { shard_key: key, query: 'insert into ledger (key, version) values ($1, 1)', params: [key] }
  // It waits for a replica until the shard does without.
  expect((await cluster.execute(insert)).status).toBe(200)
  const tells = async (): Promise<FailoverList> =>
    (await cluster.manager<FailoverList>('GET', `/api/v1/shards/${before.id}/failovers`)).body
  await until(
    'it is settled that commits wait for none',
    async () => (await tells()).quorum?.changing === false,
  )
  const degraded = await tells()
  expect(degraded).toMatchObject({
    durability: 'availability',
    primary: primaryOf(before),
    quorum: { required: 0 },
  })
  expect(degraded.quorum?.degraded_since).not.toBeNull()
  for (const id of replicas) renameSync(`${controlOf(id)}.gone`, controlOf(id))
  await until('commits wait for a replica again', async () => {
    const { quorum } = await tells()
    return quorum?.required === 1 && quorum.degraded_since === null
  })
})
