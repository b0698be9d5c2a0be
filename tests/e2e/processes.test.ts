// Each role as a process of its own beside a running cluster: it starts from its settings, does its part, tells its
// metrics, and ends cleanly at SIGTERM.
import { readFileSync, rmSync } from 'node:fs'
import type { Keyspace, ManagerReady, NodeList } from '@fleetshard/core/contract'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { insertUser, startCluster, temporaryFolder, type Cluster } from './harness/cluster.ts'
import { readText, send } from './harness/http.ts'
import { killBelow, processesBelow, startFleetshard, type Running } from './harness/processes.ts'
import { until } from './harness/until.ts'

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster({ up: ['--replicas', '0'] })
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

function start(role: string, ...words: string[]): Running {
  const env = cluster.joinEnvironment
  return startFleetshard([role, '--catalog-url', cluster.state.catalog.url, ...words], { env })
}

/** A field of the first log line with the message. */
async function logged(process: Running, message: string, field: string): Promise<string> {
  return until(`"${message}" is logged`, () => {
    const lines = process
      .output()
      .err.split('\n')
      .filter((line) => line.includes(`"msg":"${message}"`))
    const [line] = lines
    return line === undefined ? undefined : String((JSON.parse(line) as Record<string, unknown>)[field])
  })
}

async function endsCleanly(process: Running): Promise<void> {
  process.kill('SIGTERM')
  const { code, err } = await process.finished
  expect({ code, errors: err.split('\n').filter((line) => /"level":"error"|^error:/.test(line)) }).toEqual({
    code: 0,
    errors: [],
  })
}

test('a router takes statements and ends when those under way are answered', async () => {
  await using router = start(
    'router',
    '--router-http-port=0',
    '--router-wire-port=0',
    '--router-metrics-port=0',
    '--router-map-cache-file',
    `${cluster.folder}/router.map`,
  )
  const url = await logged(router, 'router is ready', 'address')
  const slow = send('POST', `${url}/v1/execute`, {
    shard_key: 'a',
    query: 'SELECT pg_sleep(0.7)::text AS slept',
  })
  await until('the statement is under way', async () => {
    const query =
      "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(0.7)%' AND pid <> pg_backend_pid()"
    return (await cluster.execute({ shard_key: 'a', query })).body.row_count > 0
  })
  await endsCleanly(router)
  expect((await slow).status).toBe(200)
})

test('a second manager answers reads, and hands changes to the leader', async () => {
  await using manager = start('manager', '--manager-http-port=0', '--manager-metrics-port=0')
  const url = await logged(manager, 'manager is ready', 'address')
  const { body } = await send<ManagerReady>('GET', `${url}/ready`)
  expect(body).toMatchObject({ status: 'ready', leader: false, leader_url: cluster.state.urls.manager })
  const created = await send<Keyspace>('POST', `${url}/api/v1/keyspaces`, { name: 'by_the_second' })
  expect(created).toMatchObject({ status: 201, body: { name: 'by_the_second' } })
  expect((await cluster.manager('GET', '/api/v1/keyspaces/by_the_second')).status).toBe(200)
  await endsCleanly(manager)
})

test('a worker carries on the jobs of the cluster', async () => {
  await using worker = start('worker', '--worker-metrics-port=0')
  await logged(worker, 'worker is ready', 'address')
  await cluster.makeUsers()
  expect((await cluster.execute(insertUser('after-the-job'))).status).toBe(200)
  await endsCleanly(worker)
})

test('an agent runs servers that the manager knows of, and stops them when it ends', async () => {
  const folder = temporaryFolder()
  await using agent = start(
    'agent',
    '--agent-port=0',
    '--agent-metrics-port=0',
    '--agent-id=second',
    '--data-dir',
    `${folder}/data`,
  )
  try {
    const url = await until(
      'the agent listens',
      () => /Server listening at (http:[^"]+)/.exec(agent.output().err)?.[1],
    )
    const token = readFileSync(`${folder}/data/agent.token`, 'utf8').trim()
    const order = { id: 'lonely', kind: 'primary' }
    expect(await send('POST', `${url}/v1/servers`, order)).toMatchObject({ status: 401 })
    const made = await send('POST', `${url}/v1/servers`, order, { authorization: `Bearer ${token}` })
    expect(made.status).toBe(201)
    await until('the manager lists the server', async () => {
      const { body } = await cluster.manager<NodeList>('GET', '/api/v1/nodes')
      return body.nodes.some((node) => node.id === 'lonely' && node.agent === 'second')
    })
    expect(processesBelow(folder).length).toBeGreaterThan(0)
    await endsCleanly(agent)
    expect(processesBelow(folder)).toEqual([])
  } finally {
    killBelow(folder)
    rmSync(folder, { recursive: true, force: true })
  }
})

test('metrics and health of a process of its own', async () => {
  await using worker = start('worker', '--worker-metrics-port=0', '--log-level=debug')
  const port = await logged(worker, 'metrics server listens', 'port')
  const url = `http://127.0.0.1:${port}`
  expect(await readText(`${url}/metrics`)).toContain('fleetshard_process_cpu_seconds_total')
  expect((await send('GET', `${url}/health`)).body).toMatchObject({ status: 'ok', role: 'worker' })
  await endsCleanly(worker)
})
