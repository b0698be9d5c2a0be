// A router over real databases for tests, with the catalog replaced by a map that the test holds in its hand.
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { Client } from 'pg'
import {
  parseEpoch,
  parseNodeId,
  parseRouterId,
  type Epoch,
  type KeyspaceSnapshot,
  type NodeRecord,
  type ShardId,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import type {
  CatalogChange,
  CatalogState,
  DirectRegistration,
  RouterPort,
} from '../../catalog/router-port.ts'
import type { LocalGroup } from '../../local/mod.ts'
import { createEngine } from '../../engine/mod.ts'
import { exec, query } from '@fleetshard/routing/wire'
import { testPassword, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { createMetrics, silentLogger, systemClock, type Logger, type Tracing } from '../../runtime/mod.ts'
import { createAuthenticator, type Authenticator } from '../../security/mod.ts'
import { executeLimitsDefault, type ExecuteLimits, type IdentityCheck } from '@fleetshard/routing/execute'
import { testSnapshot } from '@fleetshard/routing/testing'
import { Router, type RouterOptions } from './router.ts'

/** What a test router is made of. */
export interface TestRouterOptions {
  readonly shards: number
  readonly tables?: readonly TableRecord[]
  /** Runs on every shard before the router starts. */
  readonly schema?: string
  readonly execute?: Partial<ExecuteLimits>
  /** The keyspace, whose nodes are replaced by the test's own; a ring by default. */
  readonly snapshot?: KeyspaceSnapshot
  /** `static`: nobody claims the databases. */
  readonly identityCheck?: IdentityCheck
  /** Lets everybody in by default, and knows no token. */
  readonly authenticator?: Authenticator
  readonly query?: Partial<RouterOptions['query']>
  readonly endpoint?: Partial<RouterOptions['endpoint']>
  readonly options?: Partial<RouterOptions>
  readonly log?: Logger
  readonly tracing?: Tracing
  /** Over TCP as the role `owner`, whom the server asks for the password, in place of its socket. */
  readonly tcp?: boolean
}

/** A running router with its databases. */
export interface TestRouter extends AsyncDisposable {
  readonly url: string
  /** Of the Postgres port. */
  readonly wirePort: number
  readonly cluster: string
  snapshot(): KeyspaceSnapshot
  /** Gives the router a newer map. */
  replace(change: (snapshot: KeyspaceSnapshot) => KeyspaceSnapshot): void
  /** The same, and waits until the router works with it. */
  replaced(change: (snapshot: KeyspaceSnapshot) => KeyspaceSnapshot): Promise<void>
  /** Runs statements in a shard's database, past the router. */
  onShard(shard: ShardId, sql: string): Promise<void>
  /** The rows of a query in a shard's database, past the router. */
  rowsIn(shard: ShardId, sql: string): Promise<readonly (readonly (string | null)[])[]>
  database(shard: ShardId): string
  /** Sends a body; the status and the answer. */
  post(
    path: string,
    body: unknown,
    init?: RequestInit,
  ): Promise<{ status: number; body: Record<string, unknown> }>
  metrics(): Promise<string>
}

/** Starts a router; databases are named after it, so that several may share a server. */
export async function startTestRouter(server: TestPostgres, wanted: TestRouterOptions): Promise<TestRouter> {
  const cluster = randomUUID()
  const prefix = `r${cluster.slice(0, 8)}`
  const database = (shard: ShardId): string => `${prefix}_${shard}`
  const plain = wanted.snapshot ?? testSnapshot(wanted.shards, wanted.tables ?? [])
  const shards = plain.shards.map((shard) => ({
    ...shard,
    nodes: [nodeOf(server, database(shard.id), wanted.tcp === true)],
  }))
  for (const shard of shards) {
    await runOn(server, 'postgres', `create database ${database(shard.id)}`)
    if (wanted.identityCheck !== 'static') await claimFor(server, database(shard.id), { cluster, shard })
    if (wanted.schema !== undefined) await runOn(server, database(shard.id), wanted.schema)
  }
  return openRouter(wanted, {
    cluster,
    current: { ...plain, shards },
    onShard: (shard, sql) => runOn(server, database(shard), sql),
    async rowsIn(shard, sql) {
      const connection = await server.connect({ database: database(shard) })
      try {
        return (await query(connection, sql)).rows
      } finally {
        await connection.close()
      }
    },
    database,
  })
}

/** Starts a router over node groups with replicas, one a shard, whose databases it claims. */
export async function startRouterOnGroups(
  groups: readonly LocalGroup[],
  wanted: Omit<TestRouterOptions, 'shards'>,
): Promise<TestRouter> {
  const cluster = randomUUID()
  const plain = testSnapshot(groups.length, wanted.tables ?? [])
  const shards = plain.shards.map((shard, index) => {
    const { primary, replicas } = groups[index]!
    return { ...shard, nodes: [primary, ...replicas].map(({ node }) => node) }
  })
  const clientOf = async (shard: ShardId): Promise<Client> => {
    const { node, password } = groups[shards.findIndex(({ id }) => id === shard)]!.primary
    const client = new Client({ ...node, password: () => password })
    await client.connect()
    return client
  }
  const rowsIn: TestRouter['rowsIn'] = async (shard, sql) => {
    const client = await clientOf(shard)
    try {
      return (await client.query<(string | null)[]>({ text: sql, rowMode: 'array' })).rows
    } finally {
      await client.end()
    }
  }
  const onShard = async (shard: ShardId, sql: string): Promise<void> => void (await rowsIn(shard, sql))
  for (const [index, { keyspace, id, term, sequenceBlock }] of shards.entries()) {
    const { node, password } = groups[index]!.primary
    await createEngine('postgres', { clock: systemClock }).claim(
      { ...node, password },
      { cluster, keyspace, shard: id, term, epochMin: parseEpoch(1), sequenceBlock },
    )
    if (wanted.schema !== undefined) await onShard(id, wanted.schema)
  }
  const database = (shard: ShardId): string => shards.find(({ id }) => id === shard)!.nodes[0]!.database
  return openRouter(
    { ...wanted, shards: groups.length },
    { cluster, current: { ...plain, shards }, onShard, rowsIn, database },
  )
}

/** What a router is opened over. */
interface RouterPlace extends Pick<TestRouter, 'cluster' | 'onShard' | 'rowsIn' | 'database'> {
  readonly current: KeyspaceSnapshot
}

async function openRouter(wanted: TestRouterOptions, place: RouterPlace): Promise<TestRouter> {
  const { cluster, onShard, rowsIn, database } = place
  let { current } = place
  const port = new FixedPort(cluster, () => current)
  const metrics = createMetrics(false)
  const router = new Router({
    log: wanted.log ?? silentLogger,
    tracing: wanted.tracing ?? null,
    clock: systemClock,
    port,
    metrics,
    copy: null,
    authenticator: wanted.authenticator ?? openAuthenticator(),
    identityCheck: wanted.identityCheck ?? 'claimed',
    readSecret: (ref) =>
      ref.startsWith('file:') ? readFile(ref.slice('file:'.length), 'utf8') : Promise.resolve(testPassword),
    options: {
      ...optionsDefault,
      endpoint: { ...optionsDefault.endpoint, ...wanted.endpoint },
      query: { ...optionsDefault.query, ...wanted.query },
      execute: { ...executeLimitsDefault, connectionsPerNodeMax: 6, ...wanted.execute },
      ...wanted.options,
    },
  })
  await router.listen()
  await router.listenWire()
  const url = `http://127.0.0.1:${String(router.address.port)}`
  const replace = (change: (snapshot: KeyspaceSnapshot) => KeyspaceSnapshot): void => {
    current = change(current)
    port.changed(current)
  }
  return {
    url,
    wirePort: router.wireAddress?.port ?? 0,
    cluster,
    snapshot: () => current,
    replace,
    async replaced(change) {
      replace(change)
      const epoch = new RegExp(`map_epoch\\{[^}]*\\} ${String(current.epoch)}\\b`)
      while (!epoch.test(await metrics.text())) await systemClock.sleep(2)
    },
    onShard,
    rowsIn,
    database,
    async post(path, body, init = {}) {
      const text = typeof body === 'string' ? body : JSON.stringify(body)
      const headers = { 'content-type': 'application/json' }
      const answer = await fetch(url + path, { method: 'POST', body: text, ...init, headers })
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
    },
    metrics: () => metrics.text(),
    async [Symbol.asyncDispose]() {
      await router.drain()
      await router[Symbol.asyncDispose]()
    },
  }
}

const openAuthenticator = (): Authenticator =>
  createAuthenticator({
    clock: systemClock,
    isRequired: false,
    onlyOwnHost: false,
    adminToken: null,
    tokens: () => new Map(),
    jwt: null,
    failuresPerMinute: 0,
    requestsPerSecond: 0,
  })

const optionsDefault: RouterOptions = {
  id: parseRouterId('test'),
  version: 'test',
  host: '127.0.0.1',
  port: 0,
  region: null,
  zone: null,
  mapFile: null,
  httpConnectionsMax: 10_000,
  planCacheBytesMax: 10_000_000,
  transactionsMax: 1_000,
  drainMs: 1_000,
  slowStatementMs: 0,
  execute: executeLimitsDefault,
  query: {
    resultRowsMax: 10_000,
    resultBytesMax: 5_000_000,
    statementTimeoutMs: 20_000,
    transactionIdleMs: 30_000,
    idempotencyExpiryMs: 3_600_000,
    statementBytesMax: 1_000_000,
  },
  endpoint: {
    requestBytesMax: 10 * 2 ** 20,
    receiveMsMax: 60_000,
    requestBytesTotalMax: 64 * 2 ** 20,
    answerBytesTotalMax: 64 * 2 ** 20,
    slowReaderMs: 30_000,
  },
  wire: {
    host: '127.0.0.1',
    port: 0,
    limits: {
      connectionsMax: 1_000,
      connectionsPerAddressMax: 1_000,
      loginTimeoutMs: 10_000,
      messageBytesMax: 64 * 2 ** 20,
      failuresPerMinute: 0,
    },
    statementRates: { perLogin: 0, perAddress: 0 },
    authentication: { kind: 'trust' },
    tls: null,
  },
}

function targetOf(server: TestPostgres, database: string) {
  return {
    host: server.socketDir,
    port: server.port,
    database,
    user: 'postgres',
    password: null,
    tls: 'disable',
  } as const
}

function nodeOf(server: TestPostgres, database: string, tcp: boolean): NodeRecord {
  const { password: _none, ...target } = targetOf(server, database)
  return {
    ...target,
    ...(tcp ? { host: '127.0.0.1', user: 'owner' } : {}),
    id: parseNodeId(database),
    role: 'primary',
    secretRef: tcp ? 'test:password' : null,
    region: null,
    zone: null,
    agent: null,
  }
}

/** Makes the database the shard's. */
export async function claimFor(
  server: TestPostgres,
  database: string,
  { cluster, shard }: { readonly cluster: string; readonly shard: ShardRecord },
): Promise<void> {
  const { keyspace, id, term, sequenceBlock } = shard
  const claim = { cluster, keyspace, shard: id, term, epochMin: parseEpoch(1), sequenceBlock }
  await createEngine('postgres', { clock: systemClock }).claim(targetOf(server, database), claim)
}

async function runOn(server: TestPostgres, database: string, sql: string): Promise<void> {
  const connection = await server.connect({ database })
  try {
    await exec(connection, sql)
  } finally {
    await connection.close()
  }
}

/** A catalog that says what the test wants. */
class FixedPort implements RouterPort {
  readonly name = 'fixed catalog'
  readonly #cluster: string
  readonly #current: () => KeyspaceSnapshot
  readonly #listeners = new Set<(change: CatalogChange) => void>()

  constructor(cluster: string, current: () => KeyspaceSnapshot) {
    this.#cluster = cluster
    this.#current = current
  }

  readonly view: RouterPort['view'] = {
    current: () => this.#state(),
    isLoaded: () => true,
    loaded: () => Promise.resolve(this.#state()),
    until: () => Promise.resolve(this.#state()),
    ageMs: () => 0,
    subscribe: (listener) => {
      this.#listeners.add(listener)
      return () => this.#listeners.delete(listener)
    },
    async *changes() {},
  }

  changed(snapshot: KeyspaceSnapshot): void {
    const change: CatalogChange = {
      state: this.#state(),
      keyspaces: new Set([snapshot.keyspace.name]),
      jobs: new Set(),
      routers: new Set(),
      agents: new Set(),
    }
    for (const listener of this.#listeners) listener(change)
  }

  #state(): CatalogState {
    const snapshot = this.#current()
    return {
      cluster: { id: this.#cluster, createdAt: snapshot.keyspace.createdAt },
      keyspaces: new Map([[snapshot.keyspace.name, snapshot]]),
      stored: new Map(),
      jobs: new Map(),
      jobOwners: new Map(),
      routers: new Map(),
      agents: new Map(),
      tokens: new Map(),
      sessions: new Map(),
      corrupt: new Map(),
    }
  }

  acknowledge(_keyspace: string, _epoch: Epoch): void {}
  registerDirect(): DirectRegistration {
    return { acknowledge: () => undefined, [Symbol.asyncDispose]: () => Promise.resolve() }
  }
  isRegistered(): boolean {
    return true
  }
  secret(): Promise<string> {
    return Promise.reject(new Error('there are no secrets here'))
  }
  submitJob(): Promise<void> {
    return Promise.reject(new Error('there are no jobs here'))
  }
  async run(): Promise<void> {}
  async drain(): Promise<void> {}
  async [Symbol.asyncDispose](): Promise<void> {}
}
