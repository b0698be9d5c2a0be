// What the admin database shows: one table a word.
import type { ShardMap } from '@fleetshard/core'
import type { ShardAccess } from '@fleetshard/routing/execute'
import type { StatementCache } from '@fleetshard/routing/plan'
import type { WireSession } from '../session/session.ts'
import type { StatementStats } from '../session/statement-stats.ts'

/** Where the tables read from. */
export interface AdminView {
  readonly version: string
  readonly sessions: () => Iterable<WireSession>
  readonly maps: () => Iterable<ShardMap>
  readonly accesses: () => Iterable<{ readonly access: ShardAccess; readonly user: string | null }>
  readonly stats: StatementStats
  readonly statements: StatementCache
}

/** Columns and rows, all text. */
export interface AdminTable {
  readonly columns: readonly string[]
  readonly rows: readonly (readonly (string | null)[])[]
}

/** Rows of STATS. */
const statsRowsMax = 100
const number = (value: number): string => String(value)
const milliseconds = (value: number): string => value.toFixed(3)

/** The tables by the word behind SHOW. */
export const ADMIN_TABLES: Readonly<Record<string, (view: AdminView) => AdminTable>> = {
  clients: ({ sessions }) => ({
    columns: [
      'id',
      'database',
      'user',
      'application_name',
      'address',
      'tls',
      'state',
      'transaction',
      'shard',
    ],
    rows: Array.from(sessions(), ({ client, state, activity }) => [
      number(client.key.processId),
      state.start.keyspace,
      client.user,
      state.variables.applicationName,
      client.address,
      client.connection.isEncrypted ? 'on' : 'off',
      activity,
      state.status,
      state.held?.shard.name ?? null,
    ]),
  }),
  pools: ({ accesses }) => ({
    columns: [
      'keyspace',
      'shard',
      'node',
      'role',
      'user',
      'lanes',
      'idle',
      'lent',
      'waiting',
      'in_flight',
      'up',
    ],
    rows: Array.from(accesses()).flatMap(({ access, user }) =>
      Array.from(access.pools, ({ node, pool }) => {
        const { lanes, idle, lent, waiting, inFlight } = pool.counts
        return [
          access.record.keyspace,
          access.record.name,
          node.id,
          node.role,
          user ?? node.user,
          ...[lanes, idle, lent, waiting, inFlight].map(number),
          pool.isUp ? 'yes' : 'no',
        ]
      }),
    ),
  }),
  lanes: ({ accesses }) => ({
    columns: ['keyspace', 'shard', 'node', 'server_process', 'in_flight', 'settings', 'statements'],
    rows: Array.from(accesses()).flatMap(({ access }) =>
      Array.from(access.pools).flatMap(({ node, pool }) =>
        pool.lanes.map(({ connection, settings, statements, prepared }) => [
          access.record.keyspace,
          access.record.name,
          node.id,
          number(connection.processId),
          number(connection.inFlight),
          settings.key,
          number(statements.size + prepared.size),
        ]),
      ),
    ),
  }),
  shards: ({ maps }) => ({
    columns: ['keyspace', 'shard', 'id', 'status', 'term', 'owns_keys', 'primary', 'replicas'],
    rows: Array.from(maps()).flatMap((map) =>
      map.snapshot.shards.map((shard) => {
        const primary = shard.nodes.find(({ role }) => role === 'primary')
        return [
          map.snapshot.keyspace.name,
          shard.name,
          shard.id,
          shard.status,
          number(shard.term),
          map.owners.some(({ id }) => id === shard.id) ? 'yes' : 'no',
          primary === undefined ? null : `${primary.host}:${number(primary.port)}`,
          number(shard.nodes.filter(({ role }) => role === 'replica').length),
        ]
      }),
    ),
  }),
  map: ({ maps }) => ({
    columns: ['keyspace', 'epoch', 'hash', 'shards', 'owners', 'tables'],
    rows: Array.from(maps(), ({ snapshot, owners }) => [
      snapshot.keyspace.name,
      number(snapshot.epoch),
      snapshot.keyspace.hash,
      number(snapshot.shards.length),
      number(owners.length),
      number(snapshot.tables.length),
    ]),
  }),
  stats: ({ stats }) => ({
    columns: ['calls', 'errors', 'total_ms', 'mean_ms', 'max_ms', 'rows', 'shards', 'statement'],
    rows: stats
      .top(statsRowsMax)
      .map(({ calls, errors, totalMs, maxMs, rows, shards, fingerprint }) => [
        number(calls),
        number(errors),
        milliseconds(totalMs),
        milliseconds(totalMs / calls),
        milliseconds(maxMs),
        number(rows),
        [...shards].toSorted((left, right) => (left < right ? -1 : 1)).join(','),
        fingerprint,
      ]),
  }),
  plans: ({ statements }) => ({
    columns: ['statements', 'hits', 'misses'],
    rows: [[statements.size, statements.hits, statements.misses].map(number)],
  }),
  version: ({ version }) => ({ columns: ['version'], rows: [[`FleetShard ${version}`]] }),
}
