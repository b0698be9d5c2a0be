// `fleetshard vdiff` on a whole cluster: finds nothing while all is well, and every row that somebody has moved, doubled,
// changed or removed behind the routers' back.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { DirectSession, ReshardJob, Shard, ShardList, VdiffJob } from '@fleetshard/core/contract'
import { Client } from 'pg'
import { startCluster, usersSchema, type Cluster } from './harness/cluster.ts'
import { keyOn, shardMapOf } from './harness/shard-map.ts'

let cluster: Cluster

beforeAll(async () => {
  cluster = await startCluster({ up: ['--replicas', '0', '--shards', '2'] })
  const answer = await cluster.manager('POST', '/api/v1/keyspaces/default/tables', {
    tables: [
      { name: 'users', kind: 'sharded', key_column: 'user_id' },
      { name: 'visit', kind: 'sharded', key_column: 'user_id' },
      { name: 'country', kind: 'reference' },
    ],
    ddl: `${usersSchema}
      create table visit (user_id text, n int, note text, primary key (user_id, n));
      create table country (code text primary key, name text);`,
    wait_ms: 60_000,
  })
  expect(answer.status).toBe(201)
  for (let number = 0; number < 60; number += 1) {
    const key = `user-${String(number)}`
    await write(key, 'INSERT INTO users (user_id, name, email) VALUES ($1, $1, $1)', [key])
    await write(key, 'INSERT INTO visit (user_id, n, note) VALUES ($1, 1, $1)', [key])
  }
  for (const shard of await shards()) await on(shard, `insert into country values ('de', 'D'), ('fr', 'F')`)
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

async function write(key: string, query: string, params: readonly string[]): Promise<void> {
  const { status, body } = await cluster.execute({ shard_key: key, query, params })
  expect({ status, code: status === 200 ? '' : body.code }).toEqual({ status: 200, code: '' })
}

const shards = async (): Promise<readonly Shard[]> =>
  (await cluster.manager<ShardList>('GET', '/api/v1/shards')).body.shards

/** Runs SQL on a shard's primary, past every router. */
async function on(shard: Shard, sql: string): Promise<void> {
  const node = shard.nodes.find(({ role }) => role === 'primary')
  const session = { client_id: 'vdiff-test', keyspace: 'default', acked_epoch: 0 }
  const { body } = await cluster.router<DirectSession>('POST', '/v1/topology/sessions', session)
  const login = body.logins.find(({ node_id: id }) => id === node?.id)
  const client = new Client({
    host: node?.host,
    port: node?.port,
    database: node?.database,
    user: login?.user,
    password: login?.password ?? '',
  })
  await client.connect()
  await client.query(sql)
  await client.end()
}

/** Compares by the command line. */
async function vdiff(...words: string[]): Promise<{ readonly code: number | null; readonly job: VdiffJob }> {
  const { code, out, err } = await cluster.cli('vdiff', ...words, '-o', 'json')
  if (out === '') throw new Error(err)
  return { code, job: JSON.parse(out) as VdiffJob }
}

/** What is wrong with a table: counts that are not 0, and the shards of the first sample. */
function wrongsOf(job: VdiffJob, name: string) {
  const table = job.tables.find((one) => one.name === `public.${name}`)
  if (table === undefined) throw new Error(`${name} was not compared`)
  const { missing, extra, different, misplaced, duplicated, samples } = table
  const counts = Object.entries({ missing, extra, different, misplaced, duplicated })
  return { ...Object.fromEntries(counts.filter(([, count]) => count > 0)), on: samples[0]?.shards ?? [] }
}

test('nothing is found while all is well', async () => {
  const { code, job } = await vdiff()
  expect({ code, status: job.status, differences: job.differences }).toEqual({
    code: 0,
    status: 'completed',
    differences: 0,
  })
  expect(job.tables.map(({ name, rows }) => [name, rows])).toEqual([
    ['public.country', 2],
    ['public.users', 60],
    ['public.visit', 60],
  ])
})

test('rows in the wrong place, keys on two shards, and reference tables that differ are found', async () => {
  const map = await shardMapOf(cluster)
  const [first, second] = await shards()
  if (first === undefined || second === undefined) throw new Error('there are two shards')
  const strange = keyOn(map, second.id, 'strange')
  await on(first, `insert into visit values ('${strange}', 1, 'x')`)
  // The same id for another user of the other shard: by no sequence.
  const own = keyOn(map, second.id, 'double')
  await on(first, `update users set id = -77 where id = (select min(id) from users)`)
  await on(second, `insert into users (id, user_id, name, email) values (-77, '${own}', 'x', 'x')`)
  await on(
    second,
    `update country set name = 'Germany' where code = 'de'; delete from country where code = 'fr'`,
  )
  const { code, job } = await vdiff()
  expect({ code, status: job.status, differences: job.differences }).toEqual({
    code: 1,
    status: 'completed',
    differences: 4,
  })
  expect(wrongsOf(job, 'visit')).toEqual({ misplaced: 1, on: [first.id] })
  expect(wrongsOf(job, 'users')).toEqual({ duplicated: 1, on: [first.id, second.id] })
  expect(wrongsOf(job, 'country')).toMatchObject({ missing: 1, different: 1 })

  const one = await vdiff('--table', 'visit')
  expect(one.job.tables.map(({ name }) => name)).toEqual(['public.visit'])
  await on(first, `delete from visit where user_id = '${strange}'`)
  await on(second, `delete from users where id = -77`)
  await on(second, `update country set name = 'D' where code = 'de'; insert into country values ('fr', 'F')`)
  expect((await vdiff()).code).toBe(0)
})

test('the targets of a finished move are compared with its source', async () => {
  const [source] = await shards()
  const begun = await cluster.cli(
    'reshard',
    'move',
    source?.id ?? '',
    '--to',
    'moved',
    '--embedded',
    '-o',
    'json',
  )
  const { id } = JSON.parse(begun.out) as ReshardJob
  expect((await vdiff('--job', id)).code).toBe(0)
  const target = (await shards()).find(({ name }) => name === 'moved')
  if (target === undefined) throw new Error('the target is there')
  await on(
    target,
    `update users set name = 'altered' where id = (select min(id) from users);
     delete from visit where user_id = (select min(user_id) from visit);
     insert into country values ('xx', 'X')`,
  )
  const { code, job } = await vdiff('--job', id)
  expect(code).toBe(1)
  expect(wrongsOf(job, 'users')).toMatchObject({ different: 1 })
  expect(wrongsOf(job, 'visit')).toMatchObject({ missing: 1 })
  expect(wrongsOf(job, 'country')).toMatchObject({ extra: 1 })
  expect(await cluster.manager('POST', '/api/v1/vdiff', { job_id: 'nothing' })).toMatchObject({ status: 404 })
  expect(await cluster.manager('POST', '/api/v1/vdiff', { tables: ['nothing'] })).toMatchObject({
    status: 404,
  })
})
