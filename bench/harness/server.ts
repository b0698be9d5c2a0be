// One Postgres server for workloads that bring their own databases: durable as in production, in a folder of its own,
// which goes with it.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import pg from 'pg'
import { openLocalCluster } from '../../packages/server/src/local/mod.ts'
import { silentLogger, systemClock } from '../../packages/server/src/runtime/mod.ts'
import { installedPostgres } from './program.ts'

/** A running server and the login that owns its databases. */
export interface BenchServer extends AsyncDisposable {
  readonly version: string
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  /** A database that is there from the start. */
  readonly database: string
  /** Connection string of a database, with the password. */
  url(database: string): string
  /** Runs statements one by one on a connection of their own. */
  run(statements: readonly string[]): Promise<void>
}

/** Starts a server, of an installed Postgres if there is one, with those settings beyond the usual ones. */
export async function startBenchServer(
  settings: Readonly<Record<string, string>> = {},
): Promise<BenchServer> {
  // Postgres runs as another user when this is root: the folder must let it in.
  const dataDir = mkdtempSync('/var/tmp/fleetshard-bench-')
  chmodSync(dataDir, 0o755)
  const cluster = await openLocalCluster({
    dataDir,
    log: silentLogger,
    clock: systemClock,
    shards: 1,
    replicas: 0,
    catalog: false,
    dieWithParent: true,
    settings,
    pgBin: installedPostgres() ?? undefined,
  })
  const [group] = cluster.groups()
  if (group === undefined) throw new Error('the server did not start')
  const { password, node } = group.primary
  const { host, port, user, database } = node
  const url = (name: string): string => `postgres://${user}:${password}@${host}:${String(port)}/${name}`
  return {
    version: cluster.postgresVersion,
    host,
    port,
    user,
    password,
    database,
    url,
    async run(statements) {
      const client = new pg.Client({ connectionString: url(database) })
      await client.connect()
      for (const statement of statements) await client.query(statement)
      await client.end()
    },
    async [Symbol.asyncDispose]() {
      await cluster.stop()
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}
