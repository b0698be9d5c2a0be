import { rm } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { testAgentOptions } from '../agent/testing.ts'
import { openLocalCluster } from './local-cluster.ts'
import type { LocalCluster, LocalProgress, LocalServer } from './model.ts'
import { makeTestFolder } from './testing.ts'

let folder = ''
let cluster: LocalCluster
const steps: LocalProgress[] = []
const open = (): Promise<LocalCluster> =>
  openLocalCluster({ ...testAgentOptions(folder), onProgress: (step) => steps.push(step) })
beforeAll(async () => {
  folder = await makeTestFolder()
  cluster = await open()
})
afterAll(async () => {
  await cluster.stop()
  await rm(folder, { recursive: true })
})

async function query(server: LocalServer, text: string): Promise<Record<string, unknown>[]> {
  const { host, port, user, database } = server.node
  const client = new Client({ host, port, user, database, password: server.password })
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(text)).rows
  } finally {
    await client.end()
  }
}

test('has a catalog and two shards with a replica each, all streaming, and tells its progress', async () => {
  expect(await query(cluster.catalog(), 'SELECT current_database() AS name')).toEqual([{ name: 'catalog' }])
  expect(cluster.groups().map(({ name }) => name)).toEqual(['shard-1', 'shard-2'])
  for (const { primary, replicas } of cluster.groups()) {
    expect(primary.node).toMatchObject({
      role: 'primary',
      database: 'app',
      user: 'app',
      agent: 'local',
    })
    expect(primary.node.secretRef).toMatch(/^file:\//)
    expect(replicas).toHaveLength(1)
    const streaming = await query(primary, 'SELECT application_name AS id, state FROM pg_stat_replication')
    expect(streaming).toEqual([{ id: replicas[0]?.node.id, state: 'streaming' }])
  }
  expect(steps.map(({ done }) => done)).toEqual([1, 2, 3, 4, 5])
  expect(steps.every(({ total }) => total === 5)).toBe(true)
})

test('every group is a database system of its own', async () => {
  const servers = [cluster.catalog(), ...cluster.groups().map(({ primary }) => primary)]
  const ids = await Promise.all(
    servers.map((server) => query(server, 'SELECT system_identifier::text AS id FROM pg_control_system()')),
  )
  expect(new Set(ids.map((rows) => rows[0]?.['id'])).size).toBe(3)
})

test('gets another group and loses it again, with its files', async () => {
  const group = await cluster.addGroup('shard-10', { replicas: 0 })
  expect(group).toMatchObject({ name: 'shard-10', replicas: [] })
  expect(await cluster.addGroup('shard-10', { replicas: 0 })).toEqual(group)
  expect(cluster.groups().map(({ name }) => name)).toEqual(['shard-1', 'shard-2', 'shard-10'])
  await cluster.removeGroup('shard-10')
  await cluster.removeGroup('shard-10')
  expect(() => cluster.group('shard-10')).toThrow('no node group shard-10')
  expect(existsSync(join(folder, 'servers', 'shard-10-a'))).toBe(false)
})

test('comes back with its data, groups and ports', async () => {
  await query(cluster.group('shard-2').primary, 'CREATE TABLE t AS SELECT 42 AS answer')
  const before = cluster.groups()
  await cluster.stop()
  await cluster.stop()
  cluster = await open()
  expect(cluster.groups()).toEqual(before)
  expect(await query(cluster.group('shard-2').primary, 'SELECT * FROM t')).toEqual([{ answer: 42 }])
})

test('shows a promotion', async () => {
  const { primary, replicas } = cluster.group('shard-1')
  await cluster.agent.fence(primary.node.id)
  await cluster.agent.promote(replicas[0]?.node.id ?? '')
  expect(cluster.group('shard-1')).toMatchObject({
    primary: { node: { id: replicas[0]?.node.id } },
    replicas: [],
  })
  await cluster.agent.follow(primary.node.id, replicas[0]?.node.id ?? '')
  const now = cluster.group('shard-1')
  expect(now.primary.node.id).toBe(replicas[0]?.node.id)
  expect(now.replicas.map(({ node }) => node.id)).toEqual([primary.node.id])
})
