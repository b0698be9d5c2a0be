// Every process serves exactly the metrics of the table; promtool finds nothing to say; and the values are those of
// what has happened.
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  METRICS,
  PROCESS_METRICS,
  seriesMax,
  type MetricRole,
} from '../../packages/server/src/runtime/mod.ts'
import { insertUser, startCluster, temporaryFolder, type Cluster } from './harness/cluster.ts'
import { readText } from './harness/http.ts'
import { killBelow, startFleetshard, type Running } from './harness/processes.ts'
import { until } from './harness/until.ts'

const hasPromtool = spawnSync('promtool', ['--version']).status === 0

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster({ up: ['--replicas', '1'] })
  await cluster.makeUsers()
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

const namesOf = (text: string): string[] =>
  Array.from(
    text.matchAll(/^# TYPE (\S+) (\S+)$/gm),
    ([, name, type]) => `${String(name)} ${String(type)}`,
  ).toSorted()

const tableOf = (role: MetricRole, withProcess: boolean): string[] =>
  Object.entries(METRICS)
    .filter(([name, { roles }]) => roles.includes(role) && (withProcess || !(name in PROCESS_METRICS)))
    .map(([name, { type }]) => `fleetshard_${name} ${type}`)
    .toSorted()

/** What promtool has to say of a scrape. */
function lint(text: string): string {
  const { stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })
  return stdout + stderr
}

const words: Readonly<Record<MetricRole, readonly string[]>> = {
  router: ['--router-http-port=0', '--router-wire-port=0', '--router-metrics-port=0'],
  manager: ['--manager-http-port=0', '--manager-metrics-port=0'],
  worker: ['--worker-metrics-port=0'],
  agent: ['--agent-port=0', '--agent-metrics-port=0', '--agent-id=counted'],
}

async function scrapeOwn(process: Running): Promise<string> {
  const port = await until('the metrics server listens', () => {
    const line = process
      .output()
      .err.split('\n')
      .find((one) => one.includes('"msg":"metrics server listens"'))
    return line === undefined ? undefined : String((JSON.parse(line) as { port: number }).port)
  })
  return readText(`http://127.0.0.1:${port}/metrics`)
}

test.each(['router', 'worker', 'agent', 'manager'] as const)(
  'a %s of its own has exactly the metrics of the table',
  async (role) => {
    const folder = temporaryFolder()
    const own = role === 'agent' ? ['--data-dir', `${folder}/data`] : []
    const map = role === 'router' ? ['--router-map-cache-file', `${folder}/router.map`] : []
    await using process = startFleetshard(
      [role, '--catalog-url', cluster.state.catalog.url, '--log-level=debug', ...words[role], ...own, ...map],
      { env: cluster.joinEnvironment },
    )
    try {
      const text = await scrapeOwn(process)
      expect(namesOf(text)).toEqual(tableOf(role, true))
      if (hasPromtool) expect(lint(text)).toBe('')
      process.kill('SIGTERM')
      await process.finished
    } finally {
      killBelow(folder)
      rmSync(folder, { recursive: true, force: true })
    }
  },
)

/** Sum of the samples of a metric whose labels have that text in them. */
function sumOf(text: string, name: string, labels = ''): number {
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
  return lines
    .filter((line) => line.includes(labels))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}

test('a cluster counts what it does, by shard and in all', async () => {
  const { urls } = cluster.state
  const before = await readText(`${urls.routerMetrics}/metrics`)
  const grown = (after: string, name: string, labels = ''): number =>
    sumOf(after, name, labels) - sumOf(before, name, labels)
  for (let i = 0; i < 20; i += 1) await cluster.execute(insertUser(`metric-${String(i)}`))
  await cluster.execute({ shard_key: 'metric-1', query: 'SELECT user_id FROM users' })
  expect((await cluster.execute({ shard_key: 'metric-1', query: 'SELECT 1/0' })).status).toBe(400)
  const port = cluster.state.ports['router.wire-port'] ?? 0
  const client = new Client({ host: '127.0.0.1', port, user: 'me', database: 'default' })
  await client.connect()
  await client.query("SELECT user_id FROM users WHERE user_id = 'metric-2'")
  await expect(client.query('SELECT count(*) FROM users')).rejects.toThrow()
  await client.end()
  const after = await readText(`${urls.routerMetrics}/metrics`)
  expect(grown(after, 'fleetshard_shard_statements_total', 'kind="write"')).toBe(20)
  expect(grown(after, 'fleetshard_shard_statements_total', 'kind="read"')).toBe(2)
  expect(grown(after, 'fleetshard_shard_errors_total', 'class="22"')).toBe(1)
  expect(grown(after, 'fleetshard_statement_scopes_total', 'cross_shard_refused')).toBe(1)
  // Both shards have their part, and each answer is in one histogram.
  const counted = after.match(/^fleetshard_shard_answer_duration_seconds_count\{[^}]*\} [1-9]/gm) ?? []
  expect(counted).toHaveLength(2)
})

test('servers, the ring, jobs and disks are told of', async () => {
  const { urls } = cluster.state
  const text = await until('the manager knows every server', async () => {
    const found = await readText(`${urls.managerMetrics}/metrics`)
    const sizes = found.match(/^fleetshard_server_database_size_bytes\{/gm) ?? []
    return sizes.length === 4 ? found : undefined
  })
  expect(sumOf(text, 'fleetshard_health_leader')).toBe(1)
  expect(sumOf(text, 'fleetshard_server_up')).toBe(4)
  expect(text.match(/^fleetshard_server_replication_lag_(bytes|seconds)\{/gm)).toHaveLength(4)
  expect(sumOf(text, 'fleetshard_server_database_size_bytes')).toBeGreaterThan(4 * 1_000_000)
  expect(sumOf(text, 'fleetshard_server_connections_limit')).toBeGreaterThan(4)
  expect(sumOf(text, 'fleetshard_manager_shard_keys_ratio')).toBeCloseTo(1, 9)
  const agent = await readText(`${urls.agentMetrics}/metrics`)
  expect(sumOf(agent, 'fleetshard_agent_server_running')).toBeGreaterThanOrEqual(4)
  expect(sumOf(agent, 'fleetshard_agent_disk_size_bytes')).toBeGreaterThan(
    sumOf(agent, 'fleetshard_agent_disk_free_bytes'),
  )
  expect(sumOf(agent, 'fleetshard_agent_registered')).toBe(1)
})

test('no label holds a key or the text of a statement, and series are few', async () => {
  const { urls } = cluster.state
  for (const url of [urls.routerMetrics, urls.managerMetrics, urls.workerMetrics, urls.agentMetrics]) {
    const text = await readText(`${url}/metrics`)
    expect(text).not.toMatch(/metric-1|user_id/i)
    expect(text.split('\n').length).toBeLessThan(seriesMax)
    if (hasPromtool) expect(lint(text)).toBe('')
  }
})

test.skipIf(hasPromtool)(
  'promtool is not installed: its checks of names and help texts are passed over',
  () => {
    expect(process.env['FLEETSHARD_REQUIRE_PROMTOOL']).toBeUndefined()
  },
)
