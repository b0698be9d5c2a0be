// What tests of the other folders need: a throw-away Postgres, and a throw-away cluster. All of it lies in a
// temporary folder that the server user can read, and ends with the test process, also when that is killed.
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { escapeIdentifier, type Client } from 'pg'
import { parseNodeId, type NodeRecord } from '@fleetshard/core'
import { openAgent, type Agent, type AgentOptions } from '../agent/mod.ts'
import {
  connect,
  endWithProcess,
  makeTestFolder,
  testAgentOptions,
  withSession,
  type Login,
} from '../agent/testing.ts'
import { openLocalCluster } from './local-cluster.ts'
import type { LocalCluster } from './model.ts'

export { makeTestFolder } from '../agent/testing.ts'

const serverId = 'test'

/** One throw-away server. `await using server = await startTestServer()` stops it and removes its files. */
export interface TestServer extends AsyncDisposable {
  readonly host: string
  readonly port: number
  readonly socketDir: string
  readonly database: string
  /** `app`: owns the database, is no superuser. */
  readonly user: string
  readonly password: string
  /** `postgres://…` over TCP as `user`. */
  readonly url: string
  /** As it goes into a shard record (`secretRef` is a `file:`). */
  readonly node: NodeRecord
  /** Full version, `18.4`. */
  readonly version: string
  /** A connected client as `user`, or as the superuser; the caller ends it, or else the server's end does. */
  connect(options?: { readonly superuser?: boolean; readonly database?: string }): Promise<Client>
  /** Makes an empty database, owned by `user`, and returns its name. */
  createDatabase(name?: string): Promise<string>
  /** Stops it cleanly, at once, or by kill -9 (`kill`). */
  stop(mode?: 'fast' | 'immediate' | 'kill'): Promise<void>
  /** Starts it again with the same data, on the same port unless that was taken meanwhile. */
  start(): Promise<void>
}

/** What a throw-away server may be told. */
export interface TestServerOptions {
  /** Folder with `initdb` and `postgres`; the usual search by default. */
  readonly pgBin?: string
  readonly settings?: Readonly<Record<string, string | number>>
  /** fsync as in production; off by default. */
  readonly durable?: boolean
}

/** What a throw-away cluster may be told. */
export interface TestClusterOptions extends TestServerOptions {
  /** 2 by default. */
  readonly shards?: number
  /** 0 by default. */
  readonly replicas?: number
  /** True by default. */
  readonly catalog?: boolean
}

/** A throw-away cluster; disposing stops it and removes its files. */
export interface TestCluster extends LocalCluster {
  readonly dataDir: string
}

/** Starts one server with an empty database `app`: half a second. */
export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const dataDir = await makeTestFolder()
  const agent = await openAgent(agentOptions(dataDir, options))
  const release = endWithProcess(agent)
  try {
    await agent.createPrimary({ id: serverId })
  } catch (error) {
    await agent[Symbol.asyncDispose]()
    throw error
  }
  return new ThrowAwayServer(agent, (await agent.endpoint(serverId)).password, async () => {
    release()
    await agent[Symbol.asyncDispose]()
    await rm(dataDir, { recursive: true, force: true })
  })
}

/** Starts a cluster; without replicas in about a second and a half. */
export async function startTestCluster(options: TestClusterOptions = {}): Promise<TestCluster> {
  const dataDir = await makeTestFolder()
  const { shards, catalog } = options
  const cluster = await openLocalCluster({
    ...agentOptions(dataDir, options),
    shards,
    catalog,
    replicas: options.replicas ?? 0,
  })
  const release = endWithProcess(cluster.agent)
  const stop = async (): Promise<void> => {
    release()
    await cluster.stop()
    await rm(dataDir, { recursive: true, force: true })
  }
  return {
    dataDir,
    agent: cluster.agent,
    postgresVersion: cluster.postgresVersion,
    catalog: () => cluster.catalog(),
    groups: () => cluster.groups(),
    group: (name) => cluster.group(name),
    addGroup: (name, groupOptions) => cluster.addGroup(name, { replicas: 0, ...groupOptions }),
    removeGroup: (name) => cluster.removeGroup(name),
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

function agentOptions(dataDir: string, options: TestServerOptions): AgentOptions {
  const usual = testAgentOptions(dataDir)
  return {
    ...usual,
    pgBin: options.pgBin,
    durability: options.durable === true ? 'full' : 'throwaway',
    settings: { ...usual.settings, ...options.settings },
  }
}

class ThrowAwayServer implements TestServer {
  readonly host = '127.0.0.1'
  readonly password: string
  readonly #agent: Agent
  readonly #dispose: () => Promise<void>

  constructor(agent: Agent, password: string, dispose: () => Promise<void>) {
    this.#agent = agent
    this.password = password
    this.#dispose = dispose
  }

  get port(): number {
    return this.#agent.get(serverId).port
  }

  get socketDir(): string {
    return this.#agent.get(serverId).socketDir
  }

  get database(): string {
    return this.#agent.get(serverId).database
  }

  get user(): string {
    return this.#agent.get(serverId).user
  }

  get url(): string {
    return `postgres://${this.user}:${this.password}@${this.host}:${String(this.port)}/${this.database}`
  }

  get version(): string {
    return this.#agent.binaries.version
  }

  get node(): NodeRecord {
    const { host, port, database, user } = this
    return {
      id: parseNodeId(serverId),
      role: 'primary',
      host,
      port,
      database,
      user,
      tls: 'disable',
      region: null,
      zone: null,
      agent: null,
      secretRef: `file:${this.#agent.secretFile(serverId)}`,
    }
  }

  async connect(options: { readonly superuser?: boolean; readonly database?: string } = {}): Promise<Client> {
    const { host, port, user, password } = this
    const login: Login =
      options.superuser === true
        ? await this.#agent.superuser(serverId)
        : { host, port, user, password, database: this.database }
    return connect({ ...login, database: options.database ?? this.database, applicationName: 'test' })
  }

  async createDatabase(name = `db_${randomBytes(4).toString('hex')}`): Promise<string> {
    const { host, port, user, password } = this
    await withSession({ host, port, user, password, database: this.database }, (client) =>
      client.query(`CREATE DATABASE ${escapeIdentifier(name)}`),
    )
    return name
  }

  async stop(mode: 'fast' | 'immediate' | 'kill' = 'fast'): Promise<void> {
    await this.#agent.stop(serverId, { mode })
  }

  async start(): Promise<void> {
    await this.#agent.start(serverId)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#dispose()
  }
}
