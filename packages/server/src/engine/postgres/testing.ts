// For the tests of this folder and of the workers: the servers to run on (the embedded one and a local install, where
// there is one), and short ways to a claimed shard.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Client } from 'pg'
import { parseEpoch, parseKeyspaceName, parseShardId, parseTerm } from '@fleetshard/core'
import { systemClock } from '../../runtime/mod.ts'
import type { NodeTarget, ShardClaim } from '../shard-engine.ts'
import { createPostgresEngine } from './engine.ts'
import { routerApplicationPrefix, shardStateCheck, type ShardStateRow } from '@fleetshard/routing/shard-state'
import { startTestServer, type TestServer } from '../../local/testing.ts'

const installs = '/usr/lib/postgresql'

/** Every test of the engine runs on each of these. */
export const testVersions: readonly { readonly label: string; readonly pgBin: string | null }[] = [
  { label: 'embedded', pgBin: null },
  ...(existsSync(installs) ? readdirSync(installs) : [])
    .filter((version) => existsSync(join(installs, version, 'bin', 'initdb')))
    .map((version) => ({ label: `local ${version}`, pgBin: join(installs, version, 'bin') })),
]

/** Starts a server of that version. */
export function startVersion(
  version: (typeof testVersions)[number],
  settings: Readonly<Record<string, string | number>> = {},
): Promise<TestServer> {
  return startTestServer(version.pgBin === null ? { settings } : { pgBin: version.pgBin, settings })
}

/** The engine with the real clock. */
export const testEngine = createPostgresEngine({ clock: systemClock })

/** A database of the server as a target. */
export function targetOf(
  server: Pick<TestServer, 'host' | 'port' | 'user' | 'password' | 'database'>,
  database: string = server.database,
): NodeTarget {
  return {
    host: server.host,
    port: server.port,
    database,
    user: server.user,
    password: server.password,
    tls: 'disable',
  }
}

/** The cluster that test claims belong to. */
export const testCluster = '6f1c1a52-4a43-4a7e-9f2f-7b1f4a1f0c11'

/** A claim of that shard, with what a test wants otherwise. */
export function claimOf(shard: string, change: Partial<ShardClaim> = {}): ShardClaim {
  return {
    cluster: testCluster,
    keyspace: parseKeyspaceName('app'),
    shard: parseShardId(shard),
    term: parseTerm(1),
    epochMin: parseEpoch(1),
    sequenceBlock: 0,
    ...change,
  }
}

/** A new database, claimed by that shard. */
export async function claimedDatabase(
  server: TestServer,
  shard: string,
  change: Partial<ShardClaim> = {},
): Promise<NodeTarget> {
  const target = targetOf(server, await server.createDatabase())
  await testEngine.claim(target, claimOf(shard, change))
  return target
}

/** The users table of the getting-started guide. */
export const usersDdl = `
CREATE TABLE users (
    id          BIGSERIAL PRIMARY KEY,
    user_id     VARCHAR(255) NOT NULL,
    name        VARCHAR(255) NOT NULL,
    email       VARCHAR(255) NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX ux_users_user_id ON users (user_id);
`

/** The check of the shard state as a router makes it; its row. */
export async function checkShardState(client: Client): Promise<ShardStateRow> {
  const results: { rows: ShardStateRow[] }[] = []
  for (const sql of shardStateCheck.statements) results.push(await client.query<ShardStateRow>(sql))
  const row = results[shardStateCheck.identityIndex]?.rows[0]
  if (row === undefined) throw new Error('no row')
  return row
}

/** What connections of routers are called, by which fences find them. */
export const routerName = `${routerApplicationPrefix} test`
