// One shard whose servers are run by two agents, each at an address of its own, as on two hosts, with certificates that
// name them: no connection to a server is without TLS and a certificate. The shard outlives the loss of a host.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { fetchOverTls, makeSecureContext } from '@fleetshard/core/tls'
import type { FailoverList, Shard } from '@fleetshard/core/contract'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestPostgres } from '../../packages/server/src/catalog/testing/postgres-server.ts'
import { temporaryFolder, usersSchema } from './harness/cluster.ts'
import { fleetshard, killBelow, startFleetshard, type Finished, type Running } from './harness/processes.ts'
import { until } from './harness/until.ts'

const own = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === 'IPv4' && !internal)?.address
/** The second is reached by others, too, where this machine has such an address. */
const addressOf: Readonly<Record<string, string>> = { db1: '127.0.0.2', db2: own ?? '127.0.0.3' }

const folder = temporaryFolder()
const certs = join(folder, 'certs')
const adminToken = 'the-token-of-the-operator-of-two-hosts'
const pem = (name: string): string => readFileSync(join(certs, name), 'utf8')

let catalog: Awaited<ReturnType<typeof startTestPostgres>>
let managerUrl = ''
let routerUrl = ''
const running = new Map<string, Running>()

function start(role: string, name: string, ...words: string[]): Running {
  const env = {
    FLEETSHARD_TLS_CERT: join(certs, `${name}.crt`),
    FLEETSHARD_TLS_KEY: join(certs, `${name}.key`),
    FLEETSHARD_TLS_CA: join(certs, 'ca.crt'),
    FLEETSHARD_TLS_CLIENT_CERTS: 'required',
    FLEETSHARD_CATALOG_URL: `${catalog.url}?sslmode=verify-full`,
    FLEETSHARD_AUTH: 'required',
    ...(role === 'router' || role === 'manager'
      ? { FLEETSHARD_AUTH_ADMIN_TOKEN_FILE: join(folder, 'admin.token') }
      : {}),
  }
  const process = startFleetshard([role, ...words], { env })
  running.set(name, process)
  return process
}

const dataDirOf = (name: string): string => join(folder, name)

function startAgent(name: string, servers = [`--postgres-bind-host=${addressOf[name] ?? ''}`]): Running {
  const own = [`--agent-id=${name}`, `--host=${addressOf[name] ?? ''}`, `--data-dir=${dataDirOf(name)}`]
  return start('agent', name, '--port=0', '--metrics-port=0', ...own, ...servers)
}

const logged = (process: Running, message: string): Promise<string> =>
  until(`"${message}" is logged`, () => {
    const { err } = process.output()
    if (process.child.exitCode !== null) throw new Error(err)
    const line = err.split('\n').find((each) => each.includes(`"msg":"${message}"`))
    return line === undefined ? undefined : String((JSON.parse(line) as Record<string, unknown>)['address'])
  })

const attempt = (...words: string[]): Promise<Finished> =>
  fleetshard(words, {
    env: {
      FLEETSHARD_TLS_CERT: join(certs, 'client.crt'),
      FLEETSHARD_TLS_KEY: join(certs, 'client.key'),
      FLEETSHARD_TLS_CA: join(certs, 'ca.crt'),
      FLEETSHARD_MANAGER_URL: managerUrl,
      FLEETSHARD_ROUTER_URL: routerUrl,
      FLEETSHARD_TOKEN: adminToken,
    },
  })

async function done(...words: string[]): Promise<string> {
  const { code, out, err } = await attempt(...words)
  expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' })
  return out
}

const send = fetchOverTls(() =>
  makeSecureContext({ ca: pem('ca.crt'), certificate: pem('client.crt'), key: pem('client.key') }),
)
async function ask<T>(path: string): Promise<T> {
  const answer = await send(`${managerUrl}${path}`, { headers: { authorization: `Bearer ${adminToken}` } })
  return (await answer.json()) as T
}

const shard = async (): Promise<Shard> => ask<Shard>('/api/v1/shards/shard-01')
const agentOf = ({ nodes }: Shard, role: string): string | undefined =>
  nodes.find((node) => node.role === role)?.agent ?? undefined
const settled = (): Promise<true> =>
  until('nothing is under way', async () => {
    const { failovers } = await ask<FailoverList>('/api/v1/shards/shard-01/failovers')
    return failovers.every(({ status }) => status !== 'pending' && status !== 'running') || undefined
  })

const insert = (user: string): Promise<string> =>
  done(
    'sql',
    `INSERT INTO users (user_id, name, email) VALUES ('${user}', '${user}', 'x')`,
    '--key',
    user,
    '--keyspace',
    'app',
  )
const names = (...words: string[]): Promise<string> =>
  done('sql', 'SELECT name FROM users ORDER BY 1', '--key', 'a', '--keyspace', 'app', ...words)

/** One question to a server of the shard, as the role of the product with a certificate of its own. */
async function questionTo(agent: string, text: string): Promise<Record<string, unknown>[]> {
  const found = (await shard()).nodes.find((node) => node.agent === agent)
  const secrets = join(dataDirOf(agent), 'secrets')
  const file = readdirSync(secrets).find((name) => name.endsWith('.app.password')) ?? ''
  const client = new Client({
    host: found?.host ?? '',
    port: found?.port ?? 0,
    user: 'app',
    database: 'app',
    password: readFileSync(join(secrets, file), 'utf8'),
    ssl: { ca: pem('ca.crt'), cert: pem('client.crt'), key: pem('client.key'), host: found?.host ?? '' },
  })
  await client.connect()
  const { rows } = await client.query<Record<string, unknown>>(text)
  await client.end()
  return rows
}

beforeAll(async () => {
  for (const words of [
    ['certs', 'init', '--dir', certs],
    ...Object.entries(addressOf).map(([name, host]) => [
      'certs',
      'issue',
      name,
      '--dir',
      certs,
      '--host',
      host,
    ]),
  ]) {
    const { code, err } = await fleetshard(words)
    if (code !== 0) throw new Error(err)
  }
  writeFileSync(join(folder, 'admin.token'), adminToken, { mode: 0o600 })
  catalog = await startTestPostgres(undefined, {
    ca: pem('ca.crt'),
    certificate: pem('postgres.crt'),
    key: pem('postgres.key'),
  })
  const ports = ['--manager-http-port=0', '--manager-metrics-port=0', '--health-degrade-ms=1s']
  managerUrl = await logged(start('manager', 'manager', ...ports), 'manager is ready')
  start('worker', 'worker', '--worker-metrics-port=0')
  for (const name of Object.keys(addressOf)) mkdirSync(dataDirOf(name), { mode: 0o755 })
  startAgent('db1', [])
  const router = start(
    'router',
    'router',
    '--router-http-port=0',
    '--router-wire-port=0',
    '--router-metrics-port=0',
    `--router-map-cache-file=${folder}/router.map`,
  )
  routerUrl = await logged(router, 'router is ready')
}, 120_000)

afterAll(async () => {
  for (const process of running.values()) process.kill('SIGTERM')
  await Promise.all([...running.values()].map((process) => process.finished))
  killBelow(folder)
  await catalog[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

test('servers on loopback go on at another address, and their record follows', async () => {
  await done('keyspace', 'create', 'app', '--durability', 'availability')
  const create = ['shard', 'create', 'shard-01', '--keyspace', 'app', '--embedded', '--agent', 'db1']
  await until('the agent is registered', async () => (await attempt(...create)).code === 0)
  expect((await shard()).nodes).toMatchObject([{ host: '127.0.0.1', tls: 'disable' }])
  writeFileSync(join(folder, 'users.sql'), usersSchema)
  await done('table', 'create', '-f', join(folder, 'users.sql'), '--keyspace', 'app', '--key', 'user_id')
  await insert('a')
  const agent = running.get('db1')
  agent?.kill('SIGTERM')
  await agent?.finished
  startAgent('db1')
  await until('the record follows', async () => (await shard()).nodes[0]?.host === addressOf['db1'])
  expect((await shard()).nodes).toMatchObject([{ tls: 'verify-full' }])
  expect(await until('it is read from there', async () => names())).toContain('a')
})

test('a shard gets a replica on another host, and serves reads from there', async () => {
  startAgent('db2')
  await until('its agent is registered', async () => {
    return (await attempt('node', 'add', 'shard-01', '--agent', 'db2')).code === 0
  })
  await until('the replica serves', async () => agentOf(await shard(), 'replica') === 'db2')
  const places = (await shard()).nodes.map(({ agent, host, tls }) => ({ agent, host, tls }))
  expect(new Set(places)).toEqual(
    new Set(['db1', 'db2'].map((agent) => ({ agent, host: addressOf[agent], tls: 'verify-full' }))),
  )
  await settled()
  expect(await names('--consistency', 'eventual')).toContain('a')
})

test('no connection to its servers is without TLS and a certificate', async () => {
  for (const agent of ['db1', 'db2']) {
    const rows = await questionTo(
      agent,
      `SELECT coalesce(s.ssl, false) AS ssl, s.client_dn AS shown, a.client_addr IS NULL AS local
         FROM pg_stat_activity a LEFT JOIN pg_stat_ssl s USING (pid)
        WHERE a.backend_type IN ('client backend', 'walsender') AND a.pid <> pg_backend_pid()`,
    )
    const others = rows.filter(({ local }) => local === false)
    expect(others.length).toBeGreaterThan(0)
    for (const { ssl, shown } of others) {
      expect(ssl).toBe(true)
      expect(shown).toMatch(/CN=(manager|router|worker|db1|db2)$/)
    }
  }
})

test('a switchover goes to the other host, and loses nothing', async () => {
  const before = agentOf(await shard(), 'primary')
  await done('switchover', 'shard-01')
  await until('the former primary is a replica', async () => agentOf(await shard(), 'replica') === before)
  await settled()
  await insert('b')
  expect(await names()).toMatch(/a[^]*b/)
})

test('the loss of a host: the other one leads, and the host comes back with a replica', async () => {
  const before = await shard()
  const lost = agentOf(before, 'primary') ?? ''
  running.get(lost)?.kill('SIGKILL')
  killBelow(dataDirOf(lost))
  await until('the other host leads', async () => agentOf(await shard(), 'primary') !== lost)
  expect((await shard()).term).toBe(before.term + 1)
  await insert('c')
  expect(await names()).toMatch(/a[^]*b[^]*c/)

  startAgent(lost)
  await until('its server is a replica', async () => agentOf(await shard(), 'replica') === lost)
  await settled()
  await insert('d')
  const rows = await until('the replica has everything', async () => {
    const found = await questionTo(lost, 'SELECT name FROM users ORDER BY 1')
    return found.length === 4 && found
  })
  expect(rows.map(({ name }) => name)).toEqual(['a', 'b', 'c', 'd'])
})

test('doctor says whether the servers of a host can be reached', async () => {
  const env = {
    FLEETSHARD_TLS_CERT: join(certs, 'db1.crt'),
    FLEETSHARD_TLS_KEY: join(certs, 'db1.key'),
    FLEETSHARD_TLS_CA: join(certs, 'ca.crt'),
    FLEETSHARD_AGENT_POSTGRES_BIND_HOST: addressOf['db1'],
  }
  const words = ['doctor', '--data-dir', dataDirOf('none')]
  expect((await fleetshard(words, { env })).out).toMatch(
    /✓ agent servers +on 127\.0\.0\.2, reached at 127\.0\.0\.2 with TLS/,
  )
  const misnamed = await fleetshard(words, { env: { ...env, FLEETSHARD_AGENT_POSTGRES_HOST: 'db9.example' } })
  expect(misnamed.out).toMatch(/✗ agent servers +the certificate of the agent does not name db9\.example/)
  expect(misnamed.code).not.toBe(0)
})

test('certificates are renewed under running servers', async () => {
  const agent = agentOf(await shard(), 'primary') ?? ''
  const { code } = await fleetshard([
    'certs',
    'issue',
    agent,
    '--dir',
    certs,
    '--host',
    addressOf[agent] ?? '',
  ])
  expect(code).toBe(0)
  const copies = join(dataDirOf(agent), 'servers')
  const [server = ''] = readdirSync(copies)
  await until(
    'the server has it',
    () => readFileSync(join(copies, server, 'conf', 'server.crt'), 'utf8') === pem(`${agent}.crt`),
  )
  await insert('e')
  expect(await names()).toContain('e')
})
