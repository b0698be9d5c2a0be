// No secret leaves a cluster by any of the ways on which it talks of itself: passwords, tokens and values are planted
// wherever one can be given, and then looked for in logs, metrics, traces, errors, the catalog, and the support bundle.
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertUser, startCluster, type Cluster } from './harness/cluster.ts'
import { startCollector, type Collector } from './harness/collector.ts'
import { readText, send } from './harness/http.ts'
import { startFleetshard } from './harness/processes.ts'
import { until } from './harness/until.ts'

/** What is planted, by where: no text of the product could hold it by chance. */
const planted = {
  literal: 'planted-literal-3f9c',
  parameter: 'planted-parameter-81d2',
  comment: 'planted-comment-55aa',
  key: 'planted-key-c0de',
  endpoint: 'planted-endpoint-77b1',
  query: 'planted-query-string-19fe',
  token: 'planted-token-4e4e',
  login: 'planted-login-0b0b',
  rolePassword: 'planted-role-9e21',
  collector: 'planted-collector-d00d',
} as const

let cluster: Cluster
let collector: Collector
/** One that was made and revoked. */
let apiToken = ''
/** Bodies of the errors that operators were told. */
const errors: string[] = []

beforeAll(async () => {
  collector = await startCollector()
  cluster = await startCluster({
    up: [
      '--replicas=1',
      '--log-level=trace',
      '--log-slow-statement-ms=1',
      '--trace-otlp-url',
      collector.url,
      '--trace-sample-percent=100',
    ],
    env: { FLEETSHARD_TRACE_OTLP_AUTHORIZATION: `Bearer ${planted.collector}` },
  })
  await cluster.makeUsers()
  await useIt()
}, 180_000)
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
  await (collector as Collector | undefined)?.[Symbol.asyncDispose]()
})

/** Statements that work and that fail, orders that are refused, logins that are wrong. */
async function useIt(): Promise<void> {
  const headers = { authorization: `Bearer ${planted.token}`, cookie: `session=${planted.token}` }
  await cluster.execute(insertUser(planted.parameter))
  await cluster.router(
    'POST',
    '/v1/execute',
    { shard_key: planted.key, query: 'SELECT pg_sleep(0.01)' },
    headers,
  )
  const failing = [
    { shard_key: planted.key, query: `SELECT '${planted.literal}'::int /* ${planted.comment} */` },
    { shard_key: planted.key, query: 'SELECT $1::text::int', params: [planted.parameter] },
    insertUser(planted.parameter),
    { shard_key: planted.key, query: `SELEC '${planted.literal}'` },
  ]
  for (const body of failing) expect((await cluster.execute(body)).status).toBeGreaterThanOrEqual(400)
  const endpoint = `postgres://app:${planted.endpoint}@127.0.0.1:1/nothing`
  const orders: [string, string, unknown][] = [
    ['POST', '/api/v1/shards', { name: 'shard-x', primary_endpoint: endpoint }],
    ['POST', '/api/v1/shards', { name: 'shard-x', primary_endpoint: `${endpoint} ` }],
    ['POST', '/api/v1/shards', { primary_endpoint: endpoint, replicas: [endpoint] }],
    ['POST', '/api/v1/keyspaces/other/adopt', { primary_endpoint: endpoint }],
    ['GET', `/api/v1/shards?password=${planted.query}`, undefined],
    ['GET', `/api/v1/nothing?token=${planted.query}`, undefined],
  ]
  // By the operator, whose orders are looked at, and by somebody whose token is none.
  for (const sent of [{}, headers]) {
    for (const [method, path, body] of orders) {
      const answer = await cluster.manager(method, path, body, sent as Record<string, string>)
      expect(answer.status, `${method} ${path}`).toBeGreaterThanOrEqual(400)
      errors.push(JSON.stringify(answer.body))
    }
  }
  await useTokens()
  await useWire()
}

/** A token of the API that is made, used on both ways, and revoked. */
async function useTokens(): Promise<void> {
  const scopes = ['operator', 'write:default']
  const { body } = await cluster.manager<{ token: string }>('POST', '/api/v1/tokens', { name: 'app', scopes })
  apiToken = body.token
  const headers = { authorization: `Bearer ${apiToken}` }
  await until('the router knows the token', async () => {
    const answer = await cluster.router('POST', '/v1/execute', insertUser('by-token'), headers)
    return answer.status === 200
  })
  const endpoint = `postgres://app:${planted.endpoint}@127.0.0.1:1/nothing`
  const reason = `with ${apiToken}`
  const order = { name: 'shard-y', primary_endpoint: endpoint }
  await cluster.manager('POST', '/api/v1/shards', order, { ...headers, 'x-fleetshard-reason': reason })
  await cluster.manager('DELETE', '/api/v1/tokens/app')
}

async function useWire(): Promise<void> {
  const port = cluster.state.ports['router.wire-port'] ?? 0
  const client = new Client({
    host: '127.0.0.1',
    port,
    user: 'me',
    password: planted.login,
    database: 'default',
  })
  await client.connect()
  const statements = [
    `SELECT name FROM users WHERE user_id = '${planted.literal}'`,
    `SELECT '${planted.literal}'::int FROM users WHERE user_id = 'a'`,
    `ALTER ROLE app PASSWORD '${planted.rolePassword}'`,
    `SET application_name = '${planted.literal}'`,
  ]
  for (const text of statements) await client.query(text).catch(() => undefined)
  await client.query('SELECT name FROM users WHERE user_id = $1', [planted.parameter])
  await client
    .query('SELECT $1::text::int FROM users WHERE user_id = $2', [planted.parameter, 'a'])
    .catch(() => undefined)
  await client.end()
}

/** Everything that must not be seen: what was planted, and the passwords and tokens that the cluster has made. */
function secrets(): Record<string, string> {
  const found: Record<string, string> = { ...planted, catalog: cluster.catalogPassword, apiToken }
  for (const name of readdirSync(cluster.dataDir)) {
    if (/\.(?:token|key)$/.test(name)) found[name] = readFileSync(join(cluster.dataDir, name), 'utf8').trim()
  }
  const folder = join(cluster.dataDir, 'secrets')
  for (const name of readdirSync(folder)) {
    const path = join(folder, name)
    if (statSync(path).isFile()) found[name] = readFileSync(path, 'utf8').trim()
  }
  return found
}

/** Names of the secrets that stand in a text, in any of the forms in which one is written. */
function seenIn(text: string): string[] {
  return Object.entries(secrets()).flatMap(([name, secret]) => {
    const forms = [
      secret,
      encodeURIComponent(secret),
      Buffer.from(secret).toString('base64').replace(/=+$/, ''),
    ]
    return forms.some((form) => text.includes(form)) ? [name] : []
  })
}

test('there are secrets to look for, and the search finds one', () => {
  expect(Object.values(secrets()).every((secret) => secret.length >= 8)).toBe(true)
  expect(Object.keys(secrets()).length).toBeGreaterThan(Object.keys(planted).length + 2)
  expect(seenIn(`x ${planted.token} y`)).toEqual(['token'])
  expect(seenIn(`x ${cluster.catalogPassword} y`)).toContain('catalog')
})

describe('no secret is seen', () => {
  test('in the log, at its most talkative, nor in what it printed', () => {
    const log = readFileSync(join(cluster.dataDir, 'fleetshard.log'), 'utf8')
    expect(log).toContain('"slow_statement"')
    expect(log).toContain('"event":"change"')
    expect(seenIn(log)).toEqual([])
    const { out, err } = cluster.up.output()
    expect(seenIn(out + err)).toEqual([])
  })

  test('in errors that operators are told', () => {
    expect(errors.length).toBeGreaterThan(4)
    // What a caller has put into a path is told back to him.
    expect(errors.flatMap(seenIn).filter((name) => name !== 'query')).toEqual([])
  })

  test('in metrics', async () => {
    const { routerMetrics, managerMetrics, workerMetrics, agentMetrics } = cluster.state.urls
    for (const url of [routerMetrics, managerMetrics, workerMetrics, agentMetrics])
      expect(seenIn(await readText(`${url}/metrics`)), url).toEqual([])
  })

  test('in traces', async () => {
    await until('statements are traced', () => collector.spans.some(({ name }) => name === 'shard'))
    expect(seenIn(collector.bodies.join('\n'))).toEqual([])
  })

  test('in what the manager and the router tell', async () => {
    for (const path of ['topology', 'shards', 'nodes', 'jobs', 'keyspaces']) {
      const { status, body } = await cluster.manager('GET', `/api/v1/${path}`)
      expect(status).toBe(200)
      expect(seenIn(JSON.stringify(body)), path).toEqual([])
    }
    expect(seenIn(JSON.stringify((await cluster.router('GET', '/v1/topology')).body))).toEqual([])
  })

  test('in the catalog, before and after its secrets are sealed with another key', async () => {
    const before = await rowsOfCatalog()
    expect(before.filter(({ key }) => key.startsWith('secrets/')).length).toBeGreaterThan(2)
    expect(before.filter(({ value }) => seenIn(value ?? '').length > 0).map(({ key }) => key)).toEqual([])
    const keyFile = cluster.state.catalog.secretsKeyFile
    expect((statSync(keyFile).mode & 0o777).toString(8)).toBe('600')
    const [old, fresh] = [readFileSync(keyFile, 'utf8').trim(), randomBytes(32).toString('base64')]
    writeFileSync(keyFile, `${fresh}\n${old}\n`)
    const { code, out, err } = await cluster.cli('secrets', 'rotate', '-o', 'json')
    expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' })
    const rotated = JSON.parse(out) as { key: string; sealed: number; unchanged: number }
    expect(rotated).toMatchObject({ unchanged: 0 })
    writeFileSync(keyFile, `${fresh}\n`)
    const after = await rowsOfCatalog()
    const sealed = after.filter(
      ({ key, value }) => key.startsWith('secrets/') && value?.includes(rotated.key),
    )
    expect(new Set(sealed.map(({ key }) => key)).size).toBe(rotated.sealed)
    expect(after.filter(({ value }) => seenIn(value ?? '').length > 0).map(({ key }) => key)).toEqual([])
  })

  test('by processes that have another key, which say so; those that have it go on', async () => {
    const words = [
      'router',
      '--catalog-url',
      cluster.state.catalog.url,
      '--router-http-port=0',
      '--router-wire-port=0',
    ]
    const env = { ...cluster.joinEnvironment, FLEETSHARD_SECRETS_KEY_FILE: undefined }
    const other = randomBytes(32).toString('base64')
    for (const [key, isRight] of [
      [readFileSync(cluster.state.catalog.secretsKeyFile, 'utf8').trim(), true],
      [other, false],
    ] as const) {
      const map = join(cluster.folder, `${isRight ? 'right' : 'wrong'}.map`)
      await using router = startFleetshard(
        [...words, '--router-metrics-port=0', '--router-map-cache-file', map],
        {
          env: { ...env, FLEETSHARD_SECRETS_KEY: key },
        },
      )
      const url = await until('the router is ready', () => {
        const line = router
          .output()
          .err.split('\n')
          .find((each) => each.includes('router is ready'))
        return line === undefined ? undefined : (JSON.parse(line) as { address: string }).address
      })
      const query = { shard_key: 'a', query: 'SELECT count(*) FROM users' }
      const { status, body } = await send('POST', `${url}/v1/execute`, query)
      expect({ isRight, status }).toEqual({ isRight, status: isRight ? 200 : 503 })
      if (isRight) continue
      expect(JSON.stringify(body)).toMatch(
        /sealed with the key [0-9a-f]{12}, and this process has [0-9a-f]{12}/,
      )
      expect(seenIn(JSON.stringify(body) + router.output().err)).toEqual([])
      expect(router.output().err).not.toContain(other)
    }
  })

  async function rowsOfCatalog(): Promise<readonly { key: string; value: string | null }[]> {
    const url = new URL(cluster.state.catalog.url)
    url.password = encodeURIComponent(cluster.catalogPassword)
    const client = new Client({ connectionString: url.href })
    await client.connect()
    const { rows } = await client.query<{ key: string; value: string | null }>(
      `select key, value from fleetshard_catalog.entries union all select key, value from fleetshard_catalog.events`,
    )
    await client.end()
    expect(rows.length).toBeGreaterThan(10)
    return rows
  }

  test('in a support bundle, which has all its parts', async () => {
    const file = join(cluster.folder, 'bundle.tar.gz')
    const made = await cluster.cli('support-bundle', '--file', file)
    expect({ code: made.code, out: made.out.trim() }).toEqual({ code: 0, out: file })
    expect(made.err).not.toContain('left out')
    expect((statSync(file).mode & 0o777).toString(8)).toBe('600')
    const tar = (...words: string[]): string =>
      spawnSync('tar', [...words, '-zf', file], { encoding: 'utf8', maxBuffer: 2 ** 28 }).stdout
    const names = tar('-t')
      .trim()
      .split('\n')
      .map((name) => name.split('/').slice(1).join('/'))
    const wanted = [
      'manifest',
      'versions',
      'config',
      'doctor',
      'manager',
      'topology',
      'nodes',
      'jobs',
      'failovers',
    ]
    expect(names).toEqual(
      expect.arrayContaining([
        ...wanted.map((name) => `${name}.json`),
        ...['router', 'manager', 'worker', 'agent'].map((role) => `metrics/${role}.txt`),
        'logs/fleetshard.log',
      ]),
    )
    expect(names.filter((name) => name.startsWith('logs/postgres-')).length).toBeGreaterThanOrEqual(4)
    const content = tar('-x', '-O')
    expect(content).toContain('database system is ready to accept connections')
    expect(content).toContain('fleetshard_shard_answer_duration_seconds_bucket')
    expect(seenIn(content)).toEqual([])
    // What Postgres has written itself has values: the bundle is what leaves them out.
    const servers = join(cluster.dataDir, 'servers')
    const logs = readdirSync(servers).map((name) => readFileSync(join(servers, name, 'postgres.log'), 'utf8'))
    expect(seenIn(logs.join('\n'))).toContain('literal')
    const again = await cluster.cli('support-bundle', '--file', file)
    expect(again.code).toBe(2)
    expect(again.err).toContain('a file that is there is kept')
  })
})
