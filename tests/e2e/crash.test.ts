// `up` is killed with kill -9: the next `up` takes over the servers, nothing that was written is gone, nothing stays
// behind when it stops. And what `up` refuses.
import { createServer } from 'node:net'
import type { Shard } from '@fleetshard/core/contract'
import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePorts, insertUser, startCluster, temporaryFolder, type Cluster } from './harness/cluster.ts'
import { fleetshard, processesBelow } from './harness/processes.ts'
import { until } from './harness/until.ts'

const users = 50

describe('kill -9 of up', () => {
  let cluster: Cluster
  beforeAll(async () => {
    cluster = await startCluster()
    await cluster.makeUsers()
    for (let number = 0; number < users; number += 1) {
      const answer = await cluster.execute(insertUser(`user-${String(number)}`))
      expect(answer.status).toBe(200)
    }
    const { pid } = cluster.state
    process.kill(pid, 'SIGKILL')
    await cluster.up.finished
  })
  afterAll(async () => {
    await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
  })

  test('doctor tells of the servers that were left, and what to do', async () => {
    const found = await cluster.cli('doctor')
    expect(found.code).toBe(7)
    expect(found.out).toMatch(/it has crashed and left \d+ Postgres processes/)
  })

  test('the next up has all the data, and stops without an orphan', async () => {
    await cluster.start()
    for (let number = 0; number < users; number += 1) {
      const user = `user-${String(number)}`
      const read = { query: 'SELECT name FROM users WHERE user_id = $1', params: [user] }
      expect((await cluster.execute(read)).body).toMatchObject({ row_count: 1 })
    }
    expect(await cluster.stop()).toMatchObject({ code: 0 })
    expect(processesBelow(cluster.dataDir)).toEqual([])
  })

  test('down stops what a crash left, and destroys the data when told to', async () => {
    await cluster.start()
    process.kill(cluster.state.pid, 'SIGKILL')
    await cluster.up.finished
    const refused = await cluster.cli('down', '--destroy')
    expect(refused).toMatchObject({ code: 2 })
    expect(refused.err).toContain('--yes')
    expect(await cluster.cli('down', '--destroy', '--yes')).toMatchObject({ code: 0 })
    expect(processesBelow(cluster.dataDir)).toEqual([])
    expect(await cluster.cli('down')).toMatchObject({ code: 0 })
  })
})

test('a server whose port was taken while the cluster was down gets another, and its shard knows', async () => {
  await using cluster = await startCluster({ up: ['--shards', '1', '--replicas', '1'] })
  const endpoints = async (): Promise<readonly (string | null)[]> => {
    const { body } = await cluster.manager<Shard>('GET', '/api/v1/shards/shard-01')
    return [body.primary_endpoint, ...body.replicas]
  }
  await cluster.makeUsers()
  expect((await cluster.execute(insertUser('before'))).status).toBe(200)
  const before = await endpoints()
  expect(await cluster.stop()).toMatchObject({ code: 0 })
  const port = Number(new URL(before[0] ?? '').port)
  const server = createServer().listen(port, '127.0.0.1')
  await until('the port is taken', () => server.listening)
  try {
    await cluster.start()
    const after = await endpoints()
    expect(after[0]).not.toBe(before[0])
    expect(after[1]).toBe(before[1])
    const read = { query: 'SELECT name FROM users WHERE user_id = $1', params: ['before'] }
    expect((await cluster.execute(read)).body).toMatchObject({ row_count: 1 })
    expect((await cluster.execute({ ...read, consistency: 'eventual' })).body).toMatchObject({ row_count: 1 })
    expect((await cluster.execute(insertUser('after'))).status).toBe(200)
  } finally {
    server.close()
  }
})

describe('what up refuses', () => {
  let cluster: Cluster
  beforeAll(async () => {
    cluster = await startCluster({ up: ['--shards', '1', '--replicas', '0'] })
  })
  afterAll(async () => {
    await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
  })

  test('a second cluster on one data directory, naming the process that has it', async () => {
    const second = await cluster.cli('up', ...freePorts)
    expect(second.code).toBe(1)
    expect(second.err).toContain(`process ${String(cluster.state.pid)} runs a cluster on ${cluster.dataDir}`)
    expect(second.err).toContain('hint: stop it with fleetshard down')
  })

  test('the same in the background, with the same one cause', async () => {
    const second = await cluster.cli('up', '--detach', ...freePorts)
    expect(second.code).toBe(1)
    expect(second.err.match(/error:/g)).toHaveLength(1)
    expect(second.err).toContain(`process ${String(cluster.state.pid)} runs a cluster`)
  })

  test('a port that was asked for and is taken, naming who holds it and the flag', async () => {
    const folder = temporaryFolder()
    const server = createServer().listen(0, '127.0.0.1')
    try {
      const port = await until('the port is taken', () => {
        const address = server.address()
        return typeof address === 'object' && address !== null ? address.port : undefined
      })
      const refused = await fleetshard([
        'up',
        '--data-dir',
        `${folder}/data`,
        ...freePorts.slice(1),
        `--http-port=${String(port)}`,
      ])
      expect(refused.code).toBe(1)
      expect(refused.err).toMatch(
        new RegExp(`port ${String(port)} on 127.0.0.1 is taken by process ${String(process.pid)}`),
      )
      expect(refused.err).toContain('--http-port')
      expect(processesBelow(`${folder}/data`)).toEqual([])
    } finally {
      server.close()
      rmSync(folder, { recursive: true, force: true })
    }
  })

  test.each(['up', 'router', 'manager', 'worker', 'agent'])(
    '%s on an address that others reach',
    async (role) => {
      const refused = await fleetshard([role, '--host', '0.0.0.0'])
      expect(refused.code).toBe(2)
      expect(refused.err).toContain('nobody is asked who he is')
      expect(refused.err).toContain('--insecure')
    },
  )

  test.each(['router', 'manager', 'worker', 'agent'])(
    '%s that is not told where the catalog is',
    async (role) => {
      const refused = await fleetshard([role])
      expect(refused.code).toBe(2)
      expect(refused.err).toContain('--catalog-url')
    },
  )
})
