// A small fleet with TLS everywhere: certificates as `fleetshard certs init` makes them, a catalog and a shard that take
// connections under mutual TLS only, two managers, router, worker and agent as processes of their own.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { connect } from '@fleetshard/client'
import { fetchOverTls, makeSecureContext } from '@fleetshard/core/tls'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startTestPostgres } from '../../packages/server/src/catalog/testing/postgres-server.ts'
import { startCluster, temporaryFolder, usersSchema } from './harness/cluster.ts'
import { fleetshard, killBelow, startFleetshard, type Finished, type Running } from './harness/processes.ts'
import { until } from './harness/until.ts'

type TestPostgres = Awaited<ReturnType<typeof startTestPostgres>>

const folder = temporaryFolder()
const certs = join(folder, 'certs')
const foreign = join(folder, 'foreign')
const adminToken = 'the-token-of-the-operator-of-this-fleet-of-tests'

const pem = (name: string, dir = certs): string => readFileSync(join(dir, name), 'utf8')
const show = (name: string, dir = certs): Record<string, string> => ({
  FLEETSHARD_TLS_CERT: join(dir, `${name}.crt`),
  FLEETSHARD_TLS_KEY: join(dir, `${name}.key`),
  FLEETSHARD_TLS_CA: join(dir, 'ca.crt'),
})

let catalog: TestPostgres
let shard: TestPostgres
const running: Running[] = []
let managerUrl = ''
let secondUrl = ''
let routerUrl = ''
let wirePort = 0
let agentUrl = ''

/** A role with its certificate, and callers that must show theirs. */
function start(role: string, name: string, ...words: string[]): Running {
  const env = {
    ...show(name),
    FLEETSHARD_CATALOG_URL: `${catalog.url}?sslmode=verify-full`,
    FLEETSHARD_TLS_CLIENT_CERTS: 'required',
    FLEETSHARD_AUTH: 'required',
    ...(role === 'router' || role === 'manager'
      ? { FLEETSHARD_AUTH_ADMIN_TOKEN_FILE: join(folder, 'admin.token') }
      : {}),
  }
  const process = startFleetshard([role, ...words], { env })
  running.push(process)
  return process
}

async function logged(process: Running, message: string, field: string): Promise<string> {
  return until(`"${message}" is logged`, () => {
    const { err } = process.output()
    if (process.child.exitCode !== null) throw new Error(err)
    const line = err.split('\n').find((each) => each.includes(`"msg":"${message}"`))
    return line === undefined ? undefined : String((JSON.parse(line) as Record<string, unknown>)[field])
  })
}

/** A command of somebody who shows that certificate. */
function cli(words: readonly string[], env: Record<string, string> = show('client')): Promise<Finished> {
  return fleetshard(words, {
    env: {
      ...env,
      FLEETSHARD_MANAGER_URL: managerUrl,
      FLEETSHARD_ROUTER_URL: routerUrl,
      FLEETSHARD_TOKEN: adminToken,
    },
  })
}

async function done(...words: string[]): Promise<string> {
  const { code, out, err } = await cli(words)
  expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' })
  return out
}

beforeAll(async () => {
  for (const dir of [certs, foreign]) {
    const { code, err } = await fleetshard(['certs', 'init', '--dir', dir])
    if (code !== 0) throw new Error(err)
  }
  writeFileSync(join(folder, 'admin.token'), adminToken, { mode: 0o600 })
  mkdirSync(join(folder, 'agent'), { mode: 0o755 })
  const certificates = { ca: pem('ca.crt'), certificate: pem('postgres.crt'), key: pem('postgres.key') }
  ;[catalog, shard] = await Promise.all([
    startTestPostgres(undefined, certificates),
    startTestPostgres(undefined, certificates),
  ])
  const manager = start('manager', 'manager', '--manager-http-port=0', '--manager-metrics-port=0')
  managerUrl = await logged(manager, 'manager is ready', 'address')
  const second = start('manager', 'manager', '--manager-http-port=0', '--manager-metrics-port=0')
  secondUrl = await logged(second, 'manager is ready', 'address')
  const router = start(
    'router',
    'router',
    '--router-http-port=0',
    '--router-wire-port=0',
    '--router-metrics-port=0',
    '--router-wire-tls=required',
    `--router-map-cache-file=${folder}/router.map`,
  )
  start('worker', 'worker', '--worker-metrics-port=0')
  const agent = start(
    'agent',
    'agent',
    '--agent-port=0',
    '--agent-metrics-port=0',
    '--agent-id=host-1',
    '--data-dir',
    `${folder}/agent`,
  )
  // A router is ready when it has read the catalog, which is empty yet.
  routerUrl = await logged(router, 'router is ready', 'address')
  const wire = await logged(router, 'the router listens for the Postgres protocol', 'address')
  wirePort = Number(wire.split(':').at(-1))
  agentUrl = await until(
    'the agent listens',
    () => /Server listening at (https?:[^"]+)/.exec(agent.output().err)?.[1],
  )
}, 120_000)

afterAll(async () => {
  for (const process of running) process.kill('SIGTERM')
  await Promise.all(running.map((process) => process.finished))
  killBelow(folder)
  await catalog[Symbol.asyncDispose]()
  await shard[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

const byClient = (): typeof fetch =>
  fetchOverTls(() =>
    makeSecureContext({ ca: pem('ca.crt'), certificate: pem('client.crt'), key: pem('client.key') }),
  )

/** A client of the Postgres port, as a holder of the token. */
function wireClient(ssl: object | undefined): Client {
  const login = { host: '127.0.0.1', port: wirePort, user: 'token', password: adminToken, database: 'app' }
  return new Client({ ...login, ...(ssl === undefined ? {} : { ssl }) })
}

describe('a fleet with TLS everywhere', () => {
  test('is built and used by the command line', async () => {
    await done('keyspace', 'create', 'app')
    const endpoint = `${shard.url}?sslmode=verify-full`
    await done('shard', 'create', 'shard-01', '--keyspace', 'app', '--primary', endpoint)
    writeFileSync(join(folder, 'users.sql'), usersSchema)
    const table = [
      'table',
      'create',
      '-f',
      join(folder, 'users.sql'),
      '--keyspace',
      'app',
      '--key',
      'user_id',
    ]
    await done(...table)
    const insert = "INSERT INTO users (user_id, name, email) VALUES ('a', 'A', 'a@example.com')"
    await until('the router knows the shard', async () => {
      const { code } = await cli(['sql', 'SELECT count(*) FROM users', '--key', 'a', '--keyspace', 'app'])
      return code === 0
    })
    await done('sql', insert, '--key', 'a', '--keyspace', 'app')
    expect(await done('sql', 'SELECT name FROM users', '--key', 'a', '--keyspace', 'app')).toContain('A')
  })

  test('has no connection to its catalog and its shard without a certificate', async () => {
    for (const server of [catalog, shard]) {
      const ssl = { ca: pem('ca.crt'), cert: pem('client.crt'), key: pem('client.key') }
      const client = new Client({ connectionString: server.url, ssl })
      await client.connect()
      const { rows } = await client.query<{ ssl: boolean; shown: string | null; n: number }>(
        `select s.ssl, s.client_dn as shown, count(*)::int as n
         from pg_stat_ssl s join pg_stat_activity a using (pid)
         where a.backend_type = 'client backend' and a.pid <> pg_backend_pid() group by 1, 2`,
      )
      await client.end()
      expect(rows.length).toBeGreaterThan(0)
      expect(
        rows.every((row) => row.ssl && /^\/?CN=(manager|router|worker|agent)$/.test(row.shown ?? '')),
      ).toBe(true)
    }
  })

  test('has agents that do what managers order, and nobody else', async () => {
    expect(agentUrl).toMatch(/:\d+$/)
    const out = await done('node', 'create', '--replicas', '0', '-o', 'json')
    expect(out).toContain('host-1')
    const port = new URL(agentUrl.replace('http:', 'https:')).port
    const health = `https://127.0.0.1:${port}/health`
    expect((await byClient()(health)).status).toBe(200)
    const bare = fetchOverTls(() => makeSecureContext({ ca: pem('ca.crt'), certificate: null, key: null }))
    await expect(bare(health)).rejects.toThrow()
  })

  test('hands changes from one manager to the other', async () => {
    for (const url of [managerUrl, secondUrl]) {
      const name = url === managerUrl ? 'by_first' : 'by_second'
      const { code, err } = await cli(['keyspace', 'create', name, '--manager-url', url])
      expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' })
    }
  })

  test('takes no caller without a certificate, none of another authority, and none without TLS', async () => {
    const bare = fetchOverTls(() => makeSecureContext({ ca: pem('ca.crt'), certificate: null, key: null }))
    const others = {
      ca: pem('ca.crt'),
      certificate: pem('client.crt', foreign),
      key: pem('client.key', foreign),
    }
    const stranger = fetchOverTls(() => makeSecureContext(others))
    for (const url of [managerUrl, secondUrl, routerUrl]) {
      await expect(bare(`${url}/health`)).rejects.toThrow()
      await expect(stranger(`${url}/health`)).rejects.toThrow()
      await expect(fetch(`${url.replace('https:', 'http:')}/health`)).rejects.toThrow()
      expect((await byClient()(`${url}/health`)).status).toBe(200)
    }
    const refused = await cli(['keyspace', 'list'], show('client', foreign))
    expect(refused.code).not.toBe(0)
    expect(refused.err).toMatch(/hint: .*tls\.ca/)
  })

  test('serves the TypeScript client, by HTTP and straight to the shard', async () => {
    const tls = { ca: join(certs, 'ca.crt'), cert: pem('client.crt'), key: pem('client.key') }
    for (const mode of ['http', 'direct'] as const) {
      const db = await connect({
        url: routerUrl,
        keyspace: 'app',
        token: adminToken,
        mode,
        tls,
        fallback: false,
      })
      const { rows } = await db
        .shard('a')
        .query<{ name: string }>('SELECT name FROM users WHERE user_id = $1', ['a'])
      expect(rows).toEqual([{ name: 'A' }])
      await db.close()
    }
    const untrusting = { ca: join(foreign, 'ca.crt') }
    await expect(connect({ url: routerUrl, keyspace: 'app', tls: untrusting })).rejects.toMatchObject({
      code: 'server_unreachable',
      hint: expect.stringContaining('option tls') as string,
    })
  })

  test('lets nobody in on the Postgres port without TLS', async () => {
    await using client = disposable(wireClient({ ca: pem('ca.crt') }))
    await client.connect()
    expect((await client.query("SELECT name FROM users WHERE user_id = 'a'")).rows).toEqual([{ name: 'A' }])
    const plain = wireClient(undefined)
    await expect(plain.connect()).rejects.toMatchObject({
      code: '28000',
      message: expect.stringMatching(/TLS/) as string,
    })
    await plain.end()
  })

  test('takes new certificates without a restart, and goes on with connections there are', async () => {
    await using client = disposable(wireClient({ ca: pem('ca.crt') }))
    await client.connect()
    const before = await serialAt(new URL(routerUrl).port)
    const wireBefore = await serialAt(String(wirePort), ['postgresql'])
    for (const name of ['router', 'manager']) {
      const { code, err } = await fleetshard(['certs', 'issue', name, '--dir', certs])
      expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' })
    }
    await until('the router shows its new certificate', async () => {
      const shown = [
        await serialAt(new URL(routerUrl).port),
        await serialAt(String(wirePort), ['postgresql']),
      ]
      return shown[0] !== before && shown[1] !== wireBefore
    })
    expect((await client.query("SELECT name FROM users WHERE user_id = 'a'")).rows).toEqual([{ name: 'A' }])
    await done('keyspace', 'list')
  })
})

/** Serial number of the certificate that is shown on a port. */
function serialAt(port: string, ALPNProtocols: string[] = []): Promise<string> {
  return new Promise((resolve, reject) => {
    const context = { ca: pem('ca.crt'), cert: pem('client.crt'), key: pem('client.key') }
    const socket = connectTls({ host: '127.0.0.1', port: Number(port), ALPNProtocols, ...context })
    socket.once('error', reject)
    socket.once('secureConnect', () => {
      const { serialNumber } = socket.getPeerCertificate()
      socket.destroy()
      resolve(serialNumber)
    })
  })
}

const disposable = (client: Client): Client & AsyncDisposable =>
  Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })

describe('certs', () => {
  test('has keys that only their owner reads, and certificates of the authority for servers and clients', async () => {
    const authority = new X509Certificate(pem('ca.crt'))
    expect(authority.ca).toBe(true)
    const { code, out, err } = await fleetshard([
      'certs',
      'issue',
      'db2',
      '--dir',
      certs,
      '--host',
      'db2.example',
      '--days',
      '7',
    ])
    expect({ code, out: out.trim(), err: code === 0 ? '' : err }).toEqual({
      code: 0,
      out: join(certs, 'db2.crt'),
      err: '',
    })
    for (const name of ['ca', 'router', 'client', 'db2'])
      expect((statSync(join(certs, `${name}.key`)).mode & 0o777).toString(8)).toBe('600')
    const issued = new X509Certificate(pem('db2.crt'))
    expect(issued.ca).toBe(false)
    expect(issued.verify(authority.publicKey)).toBe(true)
    expect(issued.checkPrivateKey(createPrivateKey(pem('db2.key')))).toBe(true)
    expect(issued.checkHost('db2.example')).toBe('db2.example')
    expect(issued.checkIP('127.0.0.1')).toBe('127.0.0.1')
    expect(issued.checkHost('other.example')).toBeUndefined()
    expect(issued.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
    const days = (issued.validToDate.getTime() - issued.validFromDate.getTime()) / 86_400_000
    expect(Math.round(days)).toBe(7)
  })

  test.each([
    [['init'], /has an authority already/],
    [['issue', 'ca'], /cannot be the name/],
    [['issue', '../x'], /cannot be the name/],
    [['issue', 'x', '--host', 'https://db'], /no host name/],
    [['issue', 'x', '--days', '0'], /whole number/],
  ])('%j is refused, and nothing is written over', async (words, message) => {
    const before = pem('ca.key')
    const { code, err } = await fleetshard(['certs', ...words, '--dir', certs])
    expect(code).toBe(2)
    expect(err).toMatch(message)
    expect(pem('ca.key')).toBe(before)
  })

  test('issue wants an authority', async () => {
    const { code, err } = await fleetshard(['certs', 'issue', 'x', '--dir', join(folder, 'nowhere')])
    expect({ code, hint: err.includes('certs init makes one') }).toEqual({ code: 2, hint: true })
  })
})

test('up speaks TLS on all its ports, and commands on its machine find what they need', async () => {
  const words = Object.entries({ cert: 'router.crt', key: 'router.key', ca: 'ca.crt' })
  const up = [
    '--shards=1',
    '--replicas=0',
    ...words.map(([name, file]) => `--tls-${name}=${join(certs, file)}`),
  ]
  await using cluster = await startCluster({ up: [...up, '--tls-client-certs=required'] })
  const { urls } = cluster.state
  expect(Object.values(urls).every((url) => url.startsWith('https://'))).toBe(true)
  for (const url of [urls.routerMetrics, urls.managerMetrics, urls.workerMetrics, urls.agentMetrics]) {
    const text = await (await byClient()(`${url}/metrics`)).text()
    expect(text).toContain('fleetshard_build_info')
    await expect(fetch(`${url.replace('https:', 'http:')}/metrics`)).rejects.toThrow()
  }
  const told = await (await byClient()(`${urls.routerMetrics}/metrics`)).text()
  expect(told).toMatch(/^fleetshard_tls_certificate_expiry_seconds 1\.?\d+/m)
  for (const command of [['status'], ['doctor'], ['sql', 'SELECT 1 AS one', '--key', 'a']]) {
    const { code, err } = await cluster.cli(...command)
    expect({ command, code, err: code === 0 ? '' : err }).toEqual({ command, code: 0, err: '' })
  }
})
