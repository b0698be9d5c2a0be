// A primary that is gone for good, under writers: a replica leads, writers feel a pause, nothing that was acknowledged
// under quorum commit is lost, and the former primary comes back as a replica.
import { readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Shard, ShardList } from '@fleetshard/core/contract'
import { Ledger } from '../faults/ledger/ledger.ts'
import { ledgerDdl, readLedger, writeLedger, type Execute } from '../faults/ledger/writers.ts'
import { startCluster, type Cluster } from './harness/cluster.ts'
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
})
