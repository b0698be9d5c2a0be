// The cluster that scenarios break: every role a process of its own, as in production, each with a link of its own to
// the catalog; Postgres servers below an agent. Everything lies in one temporary folder and ends with this process.
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Shard, ShardList } from '@fleetshard/core/contract'
import { Client } from 'pg'
import { startTestServer, type TestServer } from '../../../packages/server/src/local/testing.ts'
import { temporaryFolder } from '../../e2e/harness/cluster.ts'
import { send, type Answer } from '../../e2e/harness/http.ts'
import { kill9, killBelow, processesBelow } from '../../e2e/harness/processes.ts'
import { until } from '../../e2e/harness/until.ts'
import { AgentServers } from './agent-servers.ts'
import { Links } from './links.ts'
import { Member } from './member.ts'
import { FaultProxy } from './proxy.ts'

/** The roles that are processes of the cluster. */
export type Role = 'router' | 'manager' | 'worker' | 'agent'

/** How many there are of each. */
export interface FaultClusterOptions {
  readonly routers: number
  readonly managers: number
  readonly workers: number
  readonly shards: number
  /** Of each of these shards. */
  readonly replicas: number
  /** Further words by role; a function makes files for them in the cluster's folder. */
  readonly words?: Readonly<
    Partial<Record<Role, readonly string[] | ((folder: string) => readonly string[])>>
  >
}

/** A process with its link to the catalog. */
export interface Linked {
  readonly member: Member
  readonly catalog: FaultProxy
}

/** A router or manager, and where it listens. */
export interface Listening extends Linked {
  readonly url: string
}

/** A router also speaks the Postgres protocol. */
export interface RouterMember extends Listening {
  readonly wirePort: number
}

/** So short that a scenario sees many leases run out; whoever is frozen for longer outlives its own. */
const leaseTtlMs = 5_000
const requestMsMax = 60_000
/** Pause between attempts to reach a manager. */
const pauseMs = 100

/** A running cluster. */
export class FaultCluster implements AsyncDisposable {
  readonly folder: string
  /** The catalog's server; it may be stopped and started. */
  readonly catalog: TestServer
  readonly agent: Linked
  readonly routers: readonly RouterMember[]
  readonly managers: readonly Listening[]
  readonly workers: readonly Linked[]
  /** Where the agent listens. */
  readonly agentPort: number
  /** Links from processes to servers and to the agent. */
  readonly links: Links
  /** The servers below the agent, past every manager. */
  readonly servers: AgentServers
  readonly #stack: AsyncDisposableStack

  /** Use {@link startFaultCluster}. */
  constructor(parts: ClusterParts, stack: AsyncDisposableStack) {
    this.folder = parts.folder
    this.catalog = parts.catalog
    this.agent = parts.agent
    this.routers = parts.routers
    this.managers = parts.managers
    this.workers = parts.workers
    this.agentPort = parts.agentPort
    this.links = parts.links
    this.servers = stack.use(new AgentServers(join(parts.folder, 'agent'), parts.agentPort))
    this.#stack = stack
  }

  /** Every process of the cluster but the Postgres servers. */
  get members(): readonly Member[] {
    const linked = [this.agent, ...this.managers, ...this.workers, ...this.routers]
    return linked.map(({ member }) => member)
  }

  /**
   * A request to whichever manager answers. One that was sent to a manager which then died is not sent again unless it
   * only reads. @throws Error when no manager answers for a minute, or the answer to a change was lost
   */
  async manager<T = unknown>(method: string, path: string, body?: unknown): Promise<Answer<T>> {
    const deadline = performance.now() + requestMsMax
    for (;;) {
      for (const { url, member } of this.managers) {
        if (!member.isRunning) continue
        try {
          const answer = await send<T>(method, `${url}${path}`, body)
          if (answer.status !== 503) return answer
        } catch (error) {
          if (method !== 'GET' && !wasNotSent(error)) throw error
        }
      }
      if (performance.now() > deadline) throw new Error(`no manager answers ${method} ${path}`)
      await new Promise((resolve) => setTimeout(resolve, pauseMs))
    }
  }

  /** All shards, as a manager knows them. */
  async shards(): Promise<readonly Shard[]> {
    return (await this.manager<ShardList>('GET', '/api/v1/shards')).body.shards
  }

  /** Pid of a server's postmaster; null when it does not run. */
  postmaster(server: string): number | null {
    try {
      const text = readFileSync(join(this.folder, 'agent', 'servers', server, 'data/postmaster.pid'), 'utf8')
      return Number(text.split('\n')[0])
    } catch {
      return null
    }
  }

  /** kill -9 of a server's postmaster; the agent starts it again. */
  killServer(server: string): void {
    const pid = this.postmaster(server)
    if (pid !== null) kill9(pid)
  }

  /** Sends a signal to a server's postmaster, or to it and its children. */
  signalServer(server: string, signal: NodeJS.Signals, to: 'postmaster' | 'all'): void {
    const pid = this.postmaster(server)
    const all = processesBelow(join(this.folder, 'agent', 'servers', server))
    for (const one of to === 'all' ? all : all.filter((found) => found === pid)) process.kill(one, signal)
  }

  /** A connection to a server of a shard (its primary unless told), past every router; the caller ends it. */
  async connectTo(shard: Shard, id?: string): Promise<Client> {
    const node = shard.nodes.find((one) => (id === undefined ? one.role === 'primary' : one.id === id))
    if (node === undefined) throw new Error(`shard ${shard.name} has no primary`)
    const secret = join(this.folder, 'agent/secrets', `${this.servers.groupOf(node.id)}.app.password`)
    const client = new Client({
      host: node.host,
      port: node.port,
      database: node.database,
      user: 'app',
      password: readFileSync(secret, 'utf8').trim(),
      connectionTimeoutMillis: requestMsMax / 20,
    })
    client.on('error', () => undefined)
    await client.connect()
    return client
  }

  /** Starts a server as the primary that it was, by its configuration as it lies there, past its agent. */
  async startByHand(server: string): Promise<void> {
    const root = join(this.folder, 'agent', 'servers', server)
    const { uid, gid } = statSync(join(root, 'data'))
    rmSync(join(root, 'data/standby.signal'), { force: true })
    rmSync(join(root, 'data/postmaster.pid'), { force: true })
    const settings = `config_file=${join(root, 'conf/fleetshard.conf')}`
    const words = ['-D', join(root, 'data'), '-c', settings]
    const child = spawn(this.#postgresProgram(), words, {
      uid,
      gid,
      cwd: join(root, 'data'),
      stdio: 'ignore',
      detached: true,
    })
    child.unref()
    await until(`${server} runs by hand`, () => this.postmaster(server) === child.pid)
  }

  /** The program that the agent starts. */
  #postgresProgram(): string {
    const servers = processesBelow(join(this.folder, 'agent', 'servers'))
    for (const pid of servers) {
      const program = readlinkSync(`/proc/${String(pid)}/exe`)
      if (program.endsWith('/postgres')) return program
    }
    throw new Error('no server runs')
  }

  /** Heals every link and starts what does not run. */
  async mend(): Promise<void> {
    this.links.heal()
    this.servers.heal()
    for (const { member, catalog } of [this.agent, ...this.managers, ...this.workers, ...this.routers]) {
      catalog.heal()
      member.thaw()
      member.start()
    }
    await Promise.all(this.routers.map(isReady))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

interface ClusterParts {
  readonly folder: string
  readonly catalog: TestServer
  readonly agent: Linked
  readonly routers: readonly RouterMember[]
  readonly managers: readonly Listening[]
  readonly workers: readonly Linked[]
  readonly agentPort: number
  readonly links: Links
}

/** Starts one and fills it with shards; disposing ends it, and removes its folder unless `keep` says otherwise. */
export async function startFaultCluster(
  options: FaultClusterOptions,
  keep: () => boolean = () => false,
): Promise<FaultCluster> {
  await using stack = new AsyncDisposableStack()
  const folder = temporaryFolder()
  stack.defer(() => {
    killBelow(join(folder, 'agent'))
    if (!keep()) rmSync(folder, { recursive: true, force: true })
  })
  mkdirSync(join(folder, 'logs'))
  const catalog = stack.use(await startTestServer())
  const database = await catalog.createDatabase('catalog')
  const links = stack.use(new Links(folder))
  const link = async (role: Role, name: string, words: readonly string[]): Promise<Linked> => {
    const proxy = stack.use(await FaultProxy.open(() => ({ host: catalog.host, port: catalog.port })))
    const url = `postgres://${catalog.user}@127.0.0.1:${String(proxy.port)}/${database}`
    const member = new Member({
      name,
      words: [
        role,
        `--catalog-url=${url}`,
        `--catalog-lease-ttl-ms=${String(leaseTtlMs)}`,
        ...words,
        ...wordsOf(options, role, folder),
      ],
      env: { FLEETSHARD_CATALOG_PASSWORD: catalog.password, ...links.environmentOf(name) },
      logFolder: join(folder, 'logs'),
    })
    stack.use(member)
    return { member, catalog: proxy }
  }
  const managers = await each(options.managers, (name) => makeManager(link, name), 'manager')
  const agentPort = await freePort()
  const agentWords = [
    `--agent-port=${String(agentPort)}`,
    '--agent-metrics-port=0',
    '--data-dir',
    join(folder, 'agent'),
  ]
  const agent = await link('agent', 'agent', agentWords)
  // Its servers end with it when it is asked to; only then may the folder go.
  stack.defer(() => agent.member.stop())
  const workers = await each(
    options.workers,
    (name) => link('worker', name, ['--worker-metrics-port=0']),
    'worker',
  )
  const routers = await each(options.routers, (name) => makeRouter(link, name, folder), 'router')
  const parts = { folder, catalog, agent, routers, managers, workers, agentPort, links }
  const cluster = new FaultCluster(parts, stack.move())
  try {
    for (const member of cluster.members) member.start()
    await fill(cluster, options)
    return cluster
  } catch (error) {
    await cluster[Symbol.asyncDispose]()
    throw error
  }
}

function wordsOf({ words }: FaultClusterOptions, role: Role, folder: string): readonly string[] {
  const own = words?.[role] ?? []
  return typeof own === 'function' ? own(folder) : own
}

type Link = (role: Role, name: string, words: readonly string[]) => Promise<Linked>

async function makeManager(link: Link, name: string): Promise<Listening> {
  const port = String(await freePort())
  const linked = await link('manager', name, ['--manager-http-port', port, '--manager-metrics-port=0'])
  return { ...linked, url: `http://127.0.0.1:${port}` }
}

async function makeRouter(link: Link, name: string, folder: string): Promise<RouterMember> {
  const [port, wirePort] = [await freePort(), await freePort()]
  const linked = await link('router', name, [
    `--router-http-port=${String(port)}`,
    `--router-wire-port=${String(wirePort)}`,
    '--router-metrics-port=0',
    '--router-wire-auth=trust',
    `--router-map-cache-file=${join(folder, `${name}.map`)}`,
  ])
  return { ...linked, url: `http://127.0.0.1:${String(port)}`, wirePort }
}

function each<T>(count: number, make: (name: string) => Promise<T>, role: Role): Promise<readonly T[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => make(`${role}-${String(index + 1)}`)))
}

/** The first shards; until the agent has registered there is nobody who could make servers. */
async function fill(cluster: FaultCluster, { shards, replicas }: FaultClusterOptions): Promise<void> {
  await until('the agent is known', async () => {
    const { body } = await cluster.manager<{ readonly nodes: readonly unknown[] }>(
      'POST',
      '/api/v1/keyspaces',
      {
        name: 'default',
      },
    )
    return body.code === 'already_exists' || body.code === undefined
  })
  for (let number = 1; number <= shards; number += 1) {
    const name = `shard-${String(number)}`
    await until(`${name} is made`, async () => {
      const order = { name, nodes: 'embedded', replica_count: replicas }
      const { status, body } = await cluster.manager('POST', '/api/v1/shards', order)
      if (status === 201 || body.code === 'already_exists') return true
      if (body.retryable) return false
      throw new Error(`${name} cannot be made: ${JSON.stringify(body)}`)
    })
  }
  await Promise.all(cluster.routers.map(isReady))
}

async function isReady({ url }: Listening): Promise<void> {
  await until(`${url} is ready`, async () => (await send('GET', `${url}/ready`)).status === 200)
}

/** Refused connections: nothing can have happened. */
export function wasNotSent(error: unknown): boolean {
  const cause = error instanceof Error ? (error.cause ?? error) : error
  return cause instanceof Error && 'code' in cause && cause.code === 'ECONNREFUSED'
}

/** A port that nobody has at this moment. */
function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer()
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => {
        resolve(port)
      })
    })
  })
}
