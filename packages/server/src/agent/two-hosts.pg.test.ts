// Two agents whose servers listen on addresses of their own, as on two hosts, with certificates that name them and
// nothing else: one shard's primary is run by one, its replica by the other.
import { existsSync, readFileSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { X509Certificate } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fetchOverTls, makeSecureContext, type TlsTexts } from '@fleetshard/core/tls'
import { createAgentClient } from '../agent-api/mod.ts'
import { silentLogger, systemClock } from '../runtime/mod.ts'
import { openTlsFiles, type TlsFiles } from '../security/mod.ts'
import { testAuthority, type TestAuthority } from '../security/testing.ts'
import type { Agent } from './agent.ts'
import { startAgentHttp } from './http.ts'
import type { AgentOptions, Peers } from './model.ts'
import { resolveServerUser } from './os-user.ts'
import { connect, makeTestFolder, openTestAgent, until, withSession } from './testing.ts'

const oldest = '/usr/lib/postgresql/15/bin'
const versions = [undefined, ...(existsSync(oldest) ? [oldest] : [])]

const own = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === 'IPv4' && !internal)?.address
/** The second is not a loopback one where this machine has such. */
const addressOf = { A: '127.0.0.2', B: own ?? '127.0.0.3' } as const
type Name = keyof typeof addressOf

/** An agent with its interface and its certificates. */
interface Host extends AsyncDisposable {
  readonly agent: Agent
  readonly tls: TlsFiles
  readonly client: ReturnType<typeof createAgentClient>
}

async function openHost(
  name: Name,
  authority: TestAuthority,
  options: Partial<AgentOptions> & { readonly folder: string; readonly peers: Peers },
): Promise<Host> {
  const address = addressOf[name]
  const { paths } = await authority.write(`agent-${name}`, [address])
  const tls = await openTlsFiles({ paths, clock: systemClock, log: silentLogger, pollEveryMs: 50 })
  const stop = new AbortController()
  const following = tls.run(stop.signal)
  const { folder, ...rest } = options
  const agent = await openTestAgent(folder, {
    ...rest,
    listening: { address, host: address, tls: { source: tls, clientCertificates: 'required' } },
  })
  const http = await startAgentHttp({
    agent,
    log: silentLogger,
    version: '0.0.0',
    tls,
    host: address,
    port: 0,
  })
  const { url, token } = http
  return {
    agent,
    tls,
    client: createAgentClient({ url, token, fetch: fetchOverTls(() => tls.context()) }),
    async [Symbol.asyncDispose]() {
      stop.abort()
      await following
      await http[Symbol.asyncDispose]()
      await agent[Symbol.asyncDispose]()
    },
  }
}

// Tests of one version build on each other: making a server is what takes time here.
describe.each(versions)('servers of two agents (programs: %s)', (pgBin) => {
  let authority: TestAuthority
  let foreign: TestAuthority
  const folders: Record<Name, string> = { A: '', B: '' }
  const hosts = new Map<string, Host>()
  const peers: Peers = async (id) => {
    const host = hosts.get(id)
    if (host === undefined) throw new Error(`${id} does not answer`)
    return host.client
  }
  const host = (name: Name): Host => {
    const found = hosts.get(name)
    if (found === undefined) throw new Error(`${name} is not open`)
    return found
  }
  const open = async (name: Name): Promise<void> => {
    hosts.set(name, await openHost(name, authority, { folder: folders[name], peers, pgBin }))
  }

  beforeAll(async () => {
    authority = await testAuthority()
    foreign = await testAuthority()
    for (const name of ['A', 'B'] as const) {
      folders[name] = await makeTestFolder()
      await open(name)
    }
  })
  afterAll(async () => {
    for (const one of hosts.values()) await one[Symbol.asyncDispose]()
    for (const folder of Object.values(folders)) await rm(folder, { recursive: true })
    authority[Symbol.dispose]()
    foreign[Symbol.dispose]()
  })

  /** Who logs in to a server from elsewhere, and by what he knows it. */
  async function login(
    name: Name,
    id: string,
    texts: TlsTexts | null = host(name).tls.texts(),
  ): Promise<Parameters<typeof connect>[0]> {
    const { host: address, port, user, password, database } = await host(name).agent.endpoint(id)
    const encryption = texts === null ? {} : { secureContext: () => makeSecureContext(texts) }
    return { host: address, port, user, password, database, ...encryption }
  }
  const rows = async (name: Name, id: string, text: string): Promise<Record<string, unknown>[]> =>
    withSession(await login(name, id), async (client) => {
      const found = await client.query<Record<string, unknown>>(text)
      return found.rows
    })
  const value = async (name: Name, id: string, text: string): Promise<unknown> =>
    Object.values((await rows(name, id, text))[0] ?? {})[0]

  test('a replica is cloned from the other host and streams from there, verified by name both ways', async () => {
    expect(await host('A').agent.createPrimary({ id: 'a', group: 'g' })).toMatchObject({
      host: addressOf.A,
      tls: 'verify-full',
    })
    await rows('A', 'a', 'CREATE TABLE t AS SELECT generate_series(1, 1000) AS n')
    // By the way of managers: over HTTP, a place first, and its data by an order of its own.
    const order = { id: 'b', kind: 'replica', of: 'a', of_agent: 'A', begin: true } as const
    expect(await host('B').client.create(order)).toMatchObject({ group: 'g', state: 'incomplete' })
    expect(await host('B').client.rejoin('b', { of: 'a', of_agent: 'A' })).toMatchObject({
      way: 'cloned',
      server: { kind: 'replica', state: 'running', host: addressOf.B, tls: 'verify-full' },
    })
    await rows('A', 'a', 'INSERT INTO t VALUES (1001)')
    await until('b has it', async () => (await value('B', 'b', 'SELECT max(n) FROM t')) === 1001)
    const [sender] = await rows(
      'A',
      'a',
      `SELECT application_name AS name, ssl, client_dn AS shown
         FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)`,
    )
    expect(sender).toEqual({ name: 'b', ssl: true, shown: '/CN=agent-B' })
    const conninfo = String(
      await withSession(await host('B').agent.superuser('b'), async (client) => {
        const found = await client.query<{ primary_conninfo: string }>('SHOW primary_conninfo')
        return found.rows[0]?.primary_conninfo
      }),
    )
    expect(conninfo).toContain(`host='${addressOf.A}'`)
    expect(conninfo).toContain("sslmode='verify-full'")
    expect(conninfo).not.toContain('password=')
  })

  test('the key is for the user of the server only', async () => {
    const { uid } = resolveServerUser()
    const found = statSync(join(folders.A, 'servers', 'a', 'conf', 'server.key'))
    expect({ mode: found.mode & 0o777, uid: found.uid }).toEqual({ mode: 0o600, uid })
  })

  test.each(['A', 'B'] as const)(
    'whoever connects to a server of %s needs TLS and a certificate',
    async (name) => {
      const id = name.toLowerCase()
      const withoutTls = connect(await login(name, id, null))
      await expect(withoutTls).rejects.toMatchObject({ code: '28000' })
      await expect(withoutTls).rejects.toThrow('no encryption')
      const { ca } = host(name).tls.texts()
      const bare = connect(await login(name, id, { ca, certificate: null, key: null }))
      await expect(bare).rejects.toMatchObject({ code: '28000' })
      await expect(bare).rejects.toThrow('valid client certificate')
      const { pair } = await foreign.write('stranger')
      const stranger = connect(await login(name, id, { ca, ...pair }))
      await expect(stranger).rejects.toThrow(/unknown ca|ECONNRESET|terminated/i)
    },
  )

  test('a server of another authority, or of another name, is not talked to', async () => {
    const { certificate, key } = host('B').tls.texts()
    const untrusting = connect(await login('A', 'a', { ca: foreign.ca, certificate, key }))
    await expect(untrusting).rejects.toThrow(/self.signed|unable to|issuer/i)
    const named = await authority.write('elsewhere', ['127.0.0.4'])
    const source = await openTlsFiles({ paths: named.paths, clock: systemClock, log: silentLogger })
    const folder = await makeTestFolder()
    await using agent = await openTestAgent(folder, {
      pgBin,
      listening: { address: '0.0.0.0', host: '127.0.0.4', tls: { source, clientCertificates: 'ignored' } },
    })
    await agent.createPrimary({ id: 'x' })
    await using http = await startAgentHttp({ agent, log: silentLogger, version: '0.0.0', port: 0 })
    const client = createAgentClient(http)
    const misled: typeof client = {
      ...client,
      admit: async (...order) => ({ ...(await client.admit(...order)), host: '127.0.0.5' }),
    }
    hosts.set('X', { ...host('A'), client: misled })
    const clone = host('B').agent.createReplica({ id: 'y', of: 'x', ofAgent: 'X' })
    await expect(clone).rejects.toMatchObject({ code: 'postgres_failed' })
    await expect(clone).rejects.toThrow(/does not match certificate|altnames/)
    hosts.delete('X')
    await host('B').agent.drop('y')
    await agent[Symbol.asyncDispose]()
    await rm(folder, { recursive: true })
  })

  test('the superuser is let in over the socket only', async () => {
    const { password } = await host('A').agent.superuser('a')
    const over = connect({ ...(await login('A', 'a')), user: 'postgres', password, database: 'postgres' })
    await expect(over).rejects.toMatchObject({ code: '28000' })
  })

  test('an agent that begins again has its replica follow without asking the other', async () => {
    await host('B')[Symbol.asyncDispose]()
    hosts.delete('B')
    const A = host('A')
    hosts.delete('A')
    await open('B')
    await host('B').agent.startAll()
    hosts.set('A', A)
    await rows('A', 'a', 'INSERT INTO t VALUES (1002)')
    await until('b has it', async () => (await value('B', 'b', 'SELECT max(n) FROM t')) === 1002)
  })

  test('a switchover to the other host, and the former primary follows it', async () => {
    const term = { term: 1 }
    const { control } = await host('A').client.fence('a', { mode: 'fast', ...term })
    expect(control).toMatchObject({ clean: true })
    await host('B').client.detach('b', term)
    const sync = { members: ['a'], required: 1 }
    expect(await host('B').client.promote('b', { ...term, sync })).toMatchObject({
      timeline: 2,
      server: { kind: 'primary', of: null },
    })
    const back = await host('A').client.rejoin('a', { of: 'b', of_agent: 'B', ...term })
    expect(back).toMatchObject({ way: 'followed', server: { kind: 'replica', of: 'b' } })
    // The commit waits for the other host.
    await rows('B', 'b', 'INSERT INTO t VALUES (2000)')
    await until('a has it', async () => (await value('A', 'a', 'SELECT max(n) FROM t')) === 2000)
    await expect(rows('A', 'a', 'INSERT INTO t VALUES (0)')).rejects.toMatchObject({ code: '25006' })
  })

  test('a primary that was killed comes back as a replica; what it had alone is gone', async () => {
    const term = { term: 2 }
    await host('A').client.detach('a', term)
    await host('B').client.quorum('b', { sync: null, ...term })
    await rows('B', 'b', 'INSERT INTO t VALUES (3000)')
    await withSession(await host('B').agent.superuser('b'), (client) => client.query('CHECKPOINT'))
    await host('B').agent.stop('b', { mode: 'kill' })
    await host('A').client.promote('a', term)
    await rows('A', 'a', 'INSERT INTO t VALUES (3001)')
    const { way } = await host('B').client.rejoin('b', { of: 'a', of_agent: 'A', ...term })
    expect(way).toBe(pgBin === undefined ? 'cloned' : 'rewound')
    await until(
      'b has what a has',
      async () => (await value('B', 'b', 'SELECT max(n) FROM t WHERE n >= 3000')) === 3001,
    )
    expect(await value('B', 'b', 'SELECT count(*)::int FROM t WHERE n = 3000')).toBe(0)
  })

  test('a server is given new certificates while it runs, as primary and as replica', async () => {
    const pids = [host('A').agent.get('a').pid, host('B').agent.get('b').pid]
    await using there = endable(await connect(await login('A', 'a')))
    for (const name of ['A', 'B'] as const) {
      const { pair } = await authority.write(`agent-${name}`, [addressOf[name]])
      const { serialNumber } = new X509Certificate(pair.certificate)
      await until(
        'it shows the new one',
        async () => (await shownBy(await login(name, name.toLowerCase()))) === serialNumber,
      )
      const copy = join(folders[name], 'servers', name.toLowerCase(), 'conf', 'server.crt')
      expect(readFileSync(copy, 'utf8')).toBe(pair.certificate)
    }
    expect([host('A').agent.get('a').pid, host('B').agent.get('b').pid]).toEqual(pids)
    expect((await there.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    const before = await senderOfB()
    await rows('A', 'a', `SELECT pg_terminate_backend(pid) FROM pg_stat_replication`)
    await until('b streams again', async () => {
      const now = await senderOfB()
      return now !== undefined && now['pid'] !== before?.['pid']
    })
    // By the certificate that was there when it connected again.
    const { serialNumber } = new X509Certificate(host('B').tls.texts().certificate ?? '')
    const shown = BigInt(String((await senderOfB())?.['serial']))
    expect(shown).toBe(BigInt(`0x${serialNumber}`))
  })
  const senderOfB = async (): Promise<Record<string, unknown> | undefined> =>
    (
      await rows(
        'A',
        'a',
        `SELECT pid, client_serial::text AS serial FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)
          WHERE application_name = 'b' AND state = 'streaming'`,
      )
    )[0]

  test('a replica that is dropped leaves no slot on the other host', async () => {
    const slots = 'SELECT count(*)::int FROM pg_replication_slots'
    expect(await value('A', 'a', slots)).toBe(1)
    await host('B').client.drop('b')
    expect(await value('A', 'a', slots)).toBe(0)
  })
})

/** Serial number of the certificate that a server shows. */
async function shownBy(login: Parameters<typeof connect>[0]): Promise<string | undefined> {
  await using client = endable(await connect(login))
  const { stream } = (
    client as unknown as { connection: { stream: { getPeerCertificate(): { serialNumber: string } } } }
  ).connection
  return stream.getPeerCertificate().serialNumber
}

function endable(client: Awaited<ReturnType<typeof connect>>): typeof client & AsyncDisposable {
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

describe('beyond loopback', () => {
  let folder = ''
  beforeAll(async () => {
    folder = await makeTestFolder()
  })
  afterAll(async () => {
    await rm(folder, { recursive: true })
  })

  test.each([
    { address: '0.0.0.0', host: 'db1.example' },
    { address: '127.0.0.1', host: 'db1.example' },
  ])('servers do not listen without TLS: %j', async (place) => {
    const opening = openTestAgent(folder, { listening: { ...place, tls: null } })
    await expect(opening).rejects.toMatchObject({
      code: 'invalid_config',
      hint: expect.stringContaining('tls.cert') as string,
    })
  })

  test('an agent whose certificate does not name the host says so', async () => {
    using authority = await testAuthority()
    const { paths } = await authority.write('agent', ['db1.example'])
    const source = await openTlsFiles({ paths, clock: systemClock, log: silentLogger })
    const tls = { source, clientCertificates: 'ignored' } as const
    const opening = openTestAgent(folder, { listening: { address: '0.0.0.0', host: 'db2.example', tls } })
    await expect(opening).rejects.toMatchObject({ code: 'invalid_config' })
    await expect(opening).rejects.toThrow('db2.example')
  })

  test('an address that this machine has not is refused before anything starts', async () => {
    using authority = await testAuthority()
    const { paths } = await authority.write('agent', ['203.0.113.9'])
    const source = await openTlsFiles({ paths, clock: systemClock, log: silentLogger })
    const tls = { source, clientCertificates: 'ignored' } as const
    const opening = openTestAgent(folder, { listening: { address: '203.0.113.9', host: '203.0.113.9', tls } })
    await expect(opening).rejects.toMatchObject({ code: 'invalid_config' })
    await expect(opening).rejects.toThrow('EADDRNOTAVAIL')
  })

  test('servers that were made on loopback go on there with their data, under TLS from their next start on', async () => {
    using authority = await testAuthority()
    const { paths } = await authority.write('agent', ['127.0.0.2'])
    const tls = await openTlsFiles({ paths, clock: systemClock, log: silentLogger })
    const listening = {
      address: '127.0.0.2',
      host: '127.0.0.2',
      tls: { source: tls, clientCertificates: 'ignored' },
    } as const
    const before = await openTestAgent(folder)
    await before.createPrimary({ id: 'old' })
    await before.createReplica({ id: 'old-b', of: 'old' })
    const { password } = await before.endpoint('old')
    await withSession(await before.endpoint('old'), (client) =>
      client.query('CREATE TABLE t AS SELECT 7 AS n'),
    )
    await before[Symbol.asyncDispose]()

    await using after = await openTestAgent(folder, { listening })
    await after.startAll()
    const { tls: mode, port, ...endpoint } = await after.endpoint('old-b')
    expect({ mode, host: endpoint.host, password: endpoint.password }).toEqual({
      mode: 'verify-full',
      host: '127.0.0.2',
      password,
    })
    await after.awaitStreaming('old-b')
    const found = await withSession({ ...endpoint, port, secureContext: () => tls.context() }, (client) =>
      client.query('SELECT n FROM t'),
    )
    expect(found.rows).toEqual([{ n: 7 }])
  })
})
