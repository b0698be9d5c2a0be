import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import { startTestCluster, startTestServer } from './testing.ts'

test('a throw-away server has a role without power, a superuser, and databases on demand', async () => {
  await using server = await startTestServer({ settings: { work_mem: '7MB' } })
  const client = await server.connect()
  const found = await client.query(`SELECT current_user, current_setting('is_superuser') AS super,
    current_setting('work_mem') AS work_mem, current_setting('fsync') AS fsync`)
  expect(found.rows).toEqual([{ current_user: 'app', super: 'off', work_mem: '7MB', fsync: 'off' }])
  await client.end()
  const database = await server.createDatabase()
  const superuser = await server.connect({ superuser: true, database })
  const who = await superuser.query('SELECT current_database() AS name, current_user')
  expect(who.rows).toEqual([{ name: database, current_user: 'postgres' }])
  await superuser.end()
})

test('a throw-away server keeps what was committed over kill -9, and leaves nothing in the end', async () => {
  const server = await startTestServer()
  const folder = server.node.secretRef?.replace('file:', '') ?? ''
  const client = await server.connect()
  await client.query('CREATE TABLE t AS SELECT 42 AS answer')
  const { port } = server
  await server.stop('kill')
  await expect(client.query('SELECT 1')).rejects.toThrow()
  await expect(server.connect()).rejects.toThrow('ECONNREFUSED')
  await server.start()
  expect(server.port).toBe(port)
  const again = await server.connect()
  expect((await again.query('SELECT * FROM t')).rows).toEqual([{ answer: 42 }])
  expect(existsSync(folder)).toBe(true)
  await server[Symbol.asyncDispose]()
  expect(existsSync(folder)).toBe(false)
})

test('a throw-away cluster starts with the shape that was asked for', async () => {
  await using cluster = await startTestCluster({ shards: 1, replicas: 1, catalog: false })
  expect(cluster.groups()).toMatchObject([{ name: 'shard-1', replicas: [{}] }])
  expect(() => cluster.catalog()).toThrow('no server catalog')
})
