// A Postgres server without a router before it, with the world of the wire cases in it.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { startCluster, type Cluster } from '../e2e/harness/cluster.ts'
import { targetOf, type Target } from './connection.ts'
import { worldDrop, worldRows, worldSchema } from './world.ts'

/** The server, and what is needed around a case. */
export interface Direct extends AsyncDisposable {
  readonly target: Target
  readonly version: string
  /** Puts the rows back as cases expect them. */
  readonly reset: () => Promise<void>
  readonly isRunning: (text: string) => Promise<boolean>
  /**
   * What sessions besides its own still do a while after their clients have gone, as `state: statement`; they are
   * ended. Empty where all are idle.
   */
  readonly leftOver: () => Promise<readonly string[]>
}

const leftOverMsMax = 3_000
const pollMs = 20

/** Starts a cluster of one shard on the embedded Postgres, or on that of the folder. */
export async function startDirect(pgBin: string | null): Promise<Direct> {
  const words = ['--shards', '1', '--replicas', '0', ...(pgBin === null ? [] : ['--pg-bin', pgBin])]
  const cluster = await startCluster({ up: words })
  try {
    const world = await openWorld(nodeUrl(cluster, 'shard-1-a'))
    return {
      ...world,
      async [Symbol.asyncDispose]() {
        await world[Symbol.asyncDispose]()
        await cluster[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await cluster[Symbol.asyncDispose]()
    throw error
  }
}

/** Makes the world in the database; disposing ends the connection and leaves the world. */
export async function openWorld(url: string): Promise<Direct> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(worldDrop)
  await client.query(worldSchema)
  const shown = await client.query<{ server_version: string }>('SHOW server_version')
  return {
    target: targetOf(url),
    version: /^[\d.]+/.exec(shown.rows[0]?.server_version ?? '')?.[0] ?? 'unknown',
    async reset() {
      await client.query(worldRows)
    },
    async isRunning(text) {
      const found = await client.query(
        `SELECT FROM pg_stat_activity
         WHERE state = 'active' AND pid <> pg_backend_pid() AND position($1 in query) > 0`,
        [text],
      )
      return found.rowCount !== 0
    },
    async leftOver() {
      const deadline = performance.now() + leftOverMsMax
      for (;;) {
        const { rows } = await client.query<{ pid: number; what: string }>(busySessions)
        if (rows.length === 0) return []
        if (performance.now() > deadline) {
          for (const { pid } of rows) await client.query('SELECT pg_terminate_backend($1)', [pid])
          return rows.map(({ what }) => what)
        }
        await new Promise((resolve) => setTimeout(resolve, pollMs))
      }
    },
    async [Symbol.asyncDispose]() {
      await client.end()
    },
  }
}

const busySessions = `SELECT pid, state || ': ' || query AS what FROM pg_stat_activity
  WHERE pid <> pg_backend_pid() AND usename = current_user AND datname = current_database()
    AND backend_type = 'client backend' AND state <> 'idle'`

/** Connection string of a server of the cluster, as the role that owns its database. */
export function nodeUrl(cluster: Cluster, nodeId: string): string {
  const agent = JSON.parse(readFileSync(join(cluster.dataDir, 'agent.json'), 'utf8')) as {
    servers: { id: string; port: number; database: string; group: string }[]
  }
  const server = agent.servers.find(({ id }) => id === nodeId)
  if (server === undefined) throw new Error(`the cluster has no server ${nodeId}`)
  const password = readFileSync(
    join(cluster.dataDir, 'secrets', `${server.group}.app.password`),
    'utf8',
  ).trim()
  return `postgres://app:${encodeURIComponent(password)}@127.0.0.1:${String(server.port)}/${server.database}`
}
