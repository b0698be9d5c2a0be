// The Postgres port of a whole cluster: the printed command works, rows land on their shards, thousands of idle clients
// cost little, a stop is orderly.
import { readFileSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startCluster, type Cluster } from './harness/cluster.ts'

/** More are only possible where files may be opened without end. */
const idleClients = 3_000
const bytesPerIdleClient = 20_000

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster({ up: ['--shards', '2', '--replicas', '1'] })
  const ddl =
    '-- fleetshard: users key user_id\nCREATE TABLE users (user_id text PRIMARY KEY, n int DEFAULT 0);\n'
  writeFileSync(join(cluster.folder, 'schema.sql'), ddl)
  const made = await cluster.cli('table', 'create', '-f', join(cluster.folder, 'schema.sql'))
  expect(made.err).not.toContain('error')
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

const port = (): number => cluster.state.ports['router.wire-port'] ?? 0

const open = async (more: pg.ClientConfig = {}): Promise<pg.Client> => {
  const client = new pg.Client({ host: '127.0.0.1', port: port(), user: 'me', database: 'default', ...more })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

test('the banner has the command, and a driver reads and writes over all shards', async () => {
  expect(cluster.up.output().out).toContain(`psql -h 127.0.0.1 -p ${String(port())} default`)
  const client = await open()
  for (let index = 0; index < 50; index += 1) {
    await client.query('insert into users (user_id, n) values ($1, $2)', [`u${String(index)}`, index])
  }
  for (let index = 0; index < 50; index += 1) {
    const { rows } = await client.query('select n from users where user_id = $1', [`u${String(index)}`])
    expect(rows).toEqual([{ n: index }])
  }
  const byDatabase = await open({ database: 'app' })
  const { rows: same } = await byDatabase.query(
    'select current_database() as name, n from users where user_id = $1',
    ['u7'],
  )
  expect(same).toEqual([{ name: 'app', n: 7 }])
  await byDatabase.end()
  const shards: number[] = []
  for (const shard of ['shard-01', 'shard-02']) {
    await client.query(`set fleetshard.shard = '${shard}'`)
    const { rows } = await client.query<{ count: number }>('select count(*)::int from users')
    shards.push(rows[0]?.count ?? 0)
  }
  expect(shards.every((count) => count > 0)).toBe(true)
  expect(shards.reduce((one, other) => one + other)).toBe(50)
  await client.end()
  const admin = await open({ database: 'fleetshard' })
  expect((await admin.query('show shards')).rows).toMatchObject([
    { shard: 'shard-01' },
    { shard: 'shard-02' },
  ])
  await admin.end()
})

test('eventual reads come from replicas', async () => {
  const client = await open()
  await client.query("set fleetshard.consistency = 'eventual'")
  await expect
    .poll(async () => (await client.query<{ n: number }>("select n from users where user_id = 'u7'")).rows, {
      timeout: 20_000,
    })
    .toEqual([{ n: 7 }])
  const metrics = await (await fetch(`${cluster.state.urls.routerMetrics}/metrics`)).text()
  expect(metrics).toMatch(/statements_routed_total\{role="replica",way="(lane|alone)"\} [1-9]/)
  await client.end()
})

test('thousands of idle clients cost little memory, and others are served meanwhile', async () => {
  const client = await open()
  const before = residentBytes()
  const sockets: Socket[] = []
  for (let index = 0; index < idleClients; index += 100) {
    sockets.push(...(await Promise.all(Array.from({ length: 100 }, () => idle()))))
  }
  expect(residentBytes() - before).toBeLessThan(idleClients * bytesPerIdleClient)
  expect((await client.query("select n from users where user_id = 'u7'")).rows).toEqual([{ n: 7 }])
  for (const socket of sockets) socket.destroy()
  await client.end()
})

/** Resident memory of the whole of `up`, bytes. */
function residentBytes(): number {
  const status = readFileSync(`/proc/${String(cluster.state.pid)}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024
}

/** A client that has logged in and says nothing more. */
function idle(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const body = Buffer.from('\0\u0003\0\0user\0me\0database\0default\0\0', 'latin1')
    const length = Buffer.alloc(4)
    length.writeInt32BE(body.length + 4)
    const socket = connect(port(), '127.0.0.1', () => {
      socket.write(Buffer.concat([length, body]))
    })
    socket.once('error', reject)
    socket.on('data', (chunk: Buffer) => {
      // ReadyForQuery ends the greeting.
      if (chunk.at(-6) === 0x5a) resolve(socket)
    })
  })
}
