// A whole cluster for the client's fault tests: replicated shards, two routers in processes of their own that may be
// killed, and writers that know what became of each of their writes.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DirectSession, Shard } from '@fleetshard/core/contract'
import { connect, isFleetShardError, type FleetShard, type FleetShardError } from '@fleetshard/client'
import { startCluster, type Cluster } from '../e2e/harness/cluster.ts'
import { send } from '../e2e/harness/http.ts'
import { kill9, startFleetshard, type Running } from '../e2e/harness/processes.ts'
import { until } from '../e2e/harness/until.ts'
import pg from 'pg'

/** A router in a process of its own. */
export interface OwnRouter {
  readonly url: string
  readonly process: Running
}

/** Starts one beside the cluster. */
export async function startOwnRouter(cluster: Cluster, name: string): Promise<OwnRouter> {
  const words = [
    '--router-http-port=0',
    '--router-wire-port=0',
    '--router-metrics-port=0',
    '--router-map-cache-file',
    join(cluster.folder, `${name}.map`),
  ]
  const process = startFleetshard(['router', '--catalog-url', cluster.state.catalog.url, ...words], {
    env: cluster.joinEnvironment,
  })
  const url = await until('the router is ready', () => {
    const line = process
      .output()
      .err.split('\n')
      .find((text) => text.includes('router is ready'))
    return line === undefined ? undefined : (JSON.parse(line) as { address: string }).address
  })
  return { url, process }
}

/** A cluster with two shards, a replica each, and a table in which a row that is written twice shows up twice. */
export async function startFaultCluster(): Promise<Cluster> {
  const cluster = await startCluster({ up: ['--shards', '2', '--replicas', '1'] })
  const answer = await cluster.manager('POST', '/api/v1/keyspaces/default/tables', {
    tables: [{ name: 'events', kind: 'sharded', key_column: 'user_id' }],
    ddl: 'create table events (user_id text not null, seen int not null default 0); create index on events (user_id);',
    wait_ms: 60_000,
  })
  if (answer.status !== 201) throw new Error(`no table: ${JSON.stringify(answer.body)}`)
  return cluster
}

/** A client of the cluster. */
export const clientOf = (mode: 'http' | 'direct', ...urls: string[]): Promise<FleetShard> =>
  connect({ urls, mode, fallback: false, pool: { connectionsMax: 12 } })

/** Pid of a server's postmaster. */
export const postmasterPid = (cluster: Cluster, server: string): number =>
  Number(readFileSync(join(cluster.dataDir, `servers/${server}/data/postmaster.pid`), 'utf8').split('\n')[0])

/** kill -9 of a server's postmaster. */
export function killServer(cluster: Cluster, server: string): void {
  kill9(postmasterPid(cluster, server))
}

/** Ends every session of routers and direct clients on the shard's primary, as a fence does. */
export async function endSessions(cluster: Cluster, shard: Shard): Promise<void> {
  const node = shard.nodes.find(({ role }) => role === 'primary')
  const session = { client_id: 'fault-tests', keyspace: 'default', acked_epoch: 0 }
  const { body } = await cluster.router<DirectSession>('POST', '/v1/topology/sessions', session)
  const login = body.logins.find(({ node_id: id }) => id === node?.id)
  const client = new pg.Client({
    host: node?.host,
    port: node?.port,
    database: node?.database,
    user: login?.user,
    password: login?.password ?? '',
  })
  await client.connect()
  await client.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'fleetshard/router%'`,
  )
  await client.end()
}

/** Kills the catalog's server and keeps it down. */
export async function stopCatalog(cluster: Cluster): Promise<void> {
  killServer(cluster, 'catalog')
  await catalogServer(cluster, 'stop', { mode: 'immediate' })
}

/** Brings it back. */
export const startCatalog = (cluster: Cluster): Promise<void> => catalogServer(cluster, 'start', {})

async function catalogServer(cluster: Cluster, action: 'stop' | 'start', body: unknown): Promise<void> {
  const token = readFileSync(join(cluster.dataDir, 'agent.token'), 'utf8').trim()
  const { status } = await send('POST', `${cluster.state.urls.agent}/v1/servers/catalog/${action}`, body, {
    authorization: `Bearer ${token}`,
  })
  if (status !== 200) throw new Error(`the catalog did not ${action}`)
}

/** Writers that go on whatever happens, and what became of each write. */
export class Writers implements AsyncDisposable {
  readonly committed: string[] = []
  readonly aborted: string[] = []
  readonly unknown: string[] = []
  readonly errors: FleetShardError[] = []
  #stopped = false
  readonly #running: Promise<unknown>

  constructor(db: FleetShard, name: string, options: { readonly keyed: boolean; readonly count: number }) {
    this.#running = Promise.all(
      Array.from({ length: options.count }, async (_, writer) => {
        for (let number = 0; !this.#stopped; number += 1) {
          const key = `${name}-${String(writer)}-${String(number)}`
          await this.#write(db, key, options.keyed)
        }
      }),
    )
  }

  /** Waits until that many more writes were acknowledged. */
  async more(count: number): Promise<void> {
    const wanted = this.committed.length + count
    await until(`${String(count)} writes more are acknowledged`, () => this.committed.length >= wanted)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    await this.#running
  }

  async #write(db: FleetShard, key: string, keyed: boolean): Promise<void> {
    try {
      const options = keyed ? { idempotencyKey: key } : {}
      await db.query('insert into events (user_id) values ($1)', [key], options)
      this.committed.push(key)
    } catch (error) {
      if (!isFleetShardError(error)) throw error
      this.errors.push(error)
      if (error.outcome === 'committed') this.committed.push(key)
      else this[error.outcome].push(key)
    }
  }
}

/** What is wrong between what writers were told and what is there: nothing, if all is well. */
export async function discrepancies(db: FleetShard, writers: Writers): Promise<readonly string[]> {
  const counts = new Map<string, number>()
  for await (const { user_id: key } of db.all().stream<{ user_id: string }>('select user_id from events'))
    counts.set(key, (counts.get(key) ?? 0) + 1)
  return [
    ...writers.committed.filter((key) => counts.get(key) === undefined).map((key) => `${key} was lost`),
    ...writers.committed.filter((key) => (counts.get(key) ?? 0) > 1).map((key) => `${key} was written twice`),
    ...writers.aborted.filter((key) => counts.has(key)).map((key) => `${key} was said to be aborted`),
    ...writers.unknown
      .filter((key) => (counts.get(key) ?? 0) > 1)
      .map((key) => `${key} was repeated blindly`),
  ]
}
