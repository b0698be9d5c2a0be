// Where the suites run: a server without a router, a router before a keyspace of one shard, and one before two.
import pg from 'pg'
import { startCluster, type Cluster } from '../e2e/harness/cluster.ts'
import { ownerOf, shardMapOf } from '../e2e/harness/shard-map.ts'
import { nodeUrl } from '../wire/direct.ts'
import { bigInsert, bigTenant, driverSchema } from './drivers/case.ts'

/** A cluster with the tables of the drivers' cases in it. */
export interface Placed extends AsyncDisposable {
  readonly cluster: Cluster
  /** Of the server of the first shard. */
  readonly directUrl: string
  /** Of the router, keyspace `default`. */
  readonly routerUrl: string
}

/** One shard; its tables are declared nowhere. */
export async function startOneShard(): Promise<Placed> {
  return placed(1, async (_, directUrl) => {
    await run(directUrl, driverSchema)
    await run(directUrl, bigInsert)
  })
}

/** Two shards; the tables are sharded by tenant. */
export async function startTwoShards(): Promise<Placed> {
  return placed(2, async (cluster) => {
    const tables = ['compat_values', 'compat_big'].map((name) => ({
      name,
      kind: 'sharded',
      key_column: 'tenant',
    }))
    const body = { tables, ddl: driverSchema, wait_ms: 60_000 }
    const answer = await cluster.manager('POST', '/api/v1/keyspaces/default/tables', body)
    if (answer.status !== 201) throw new Error(`no tables: ${JSON.stringify(answer.body)}`)
    const owner = ownerOf(await shardMapOf(cluster), bigTenant)
    const { body: shard } = await cluster.manager<{ nodes: { id: string }[] }>(
      'GET',
      `/api/v1/shards/${owner}`,
    )
    await run(nodeUrl(cluster, shard.nodes[0]?.id ?? ''), bigInsert)
  })
}

async function placed(
  shards: number,
  fill: (cluster: Cluster, directUrl: string) => Promise<void>,
): Promise<Placed> {
  const cluster = await startCluster({ up: ['--shards', String(shards), '--replicas', '0'] })
  try {
    const directUrl = nodeUrl(cluster, 'shard-1-a')
    await fill(cluster, directUrl)
    return {
      cluster,
      directUrl,
      routerUrl: routerUrl(cluster, directUrl),
      [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
    }
  } catch (error) {
    await cluster[Symbol.asyncDispose]()
    throw error
  }
}

/** The router's Postgres port, with the user and password of the server; the keyspace is the database. */
export function routerUrl(cluster: Cluster, directUrl: string): string {
  const url = new URL(directUrl)
  url.port = String(cluster.state.ports['router.wire-port'])
  url.pathname = '/default'
  return url.href
}

async function run(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(text)
  await client.end()
}
