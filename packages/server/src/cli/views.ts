// How shards, keyspaces, tables, nodes and jobs look in a table and one by one.
import type {
  FleetNode,
  Job,
  Keyspace,
  ReshardJob,
  Shard,
  Table,
  TableSuggestion,
  VdiffJob,
  VdiffTable,
} from '@fleetshard/core/contract'
import type { Paint, Style, View } from './output/mod.ts'

const RING = 2n ** 64n

/** Green for what works, red for what does not, yellow for what is on its way. */
function paintStatus(status: string, style: Style): Paint {
  if (['active', 'completed', 'ready', 'ok'].includes(status)) return style.green
  if (['failed', 'inactive', 'unreachable'].includes(status)) return style.red
  return style.yellow
}

/** The part of the ring that the shard owns: `25.1%`; empty where it is not told. */
export function ownedShare(shard: Pick<Shard, 'ranges'>): string {
  if (shard.ranges === undefined) return ''
  const owned = shard.ranges.reduce((sum, { start, end }) => sum + BigInt(end) - BigInt(start) + 1n, 0n)
  return `${(Number((owned * 100_000n) / RING) / 1000).toFixed(1)}%`
}

/** A shard. */
export const shardView: View<Shard> = {
  name: (shard) => shard.id,
  columns: [
    { header: 'ID', cell: (shard) => shard.id, whole: true },
    { header: 'NAME', cell: (shard) => shard.name },
    { header: 'KEYSPACE', cell: (shard) => shard.keyspace },
    {
      header: 'STATUS',
      cell: (shard) => shard.status,
      paint: (shard, style) => paintStatus(shard.status, style),
    },
    { header: 'OWNS', cell: ownedShare, align: 'right' },
    { header: 'VNODES', cell: (shard) => shard.vnode_count, align: 'right' },
    { header: 'REPLICAS', cell: (shard) => shard.replicas.length, align: 'right' },
    { header: 'TERM', cell: (shard) => shard.term, align: 'right', wide: true },
    { header: 'VERSION', cell: (shard) => shard.version, align: 'right', wide: true },
    { header: 'PRIMARY', cell: (shard) => shard.primary_endpoint },
    { header: 'CREATED', cell: (shard) => shard.created_at, wide: true },
  ],
  details: (shard) => [
    ['id', shard.id],
    ['name', shard.name],
    ['keyspace', shard.keyspace],
    ['status', shard.status_reason === null ? shard.status : `${shard.status} (${shard.status_reason})`],
    ['owns', `${ownedShare(shard)} of the ring in ${String(shard.ranges?.length ?? 0)} ranges`],
    ['hash range', rangeText(shard)],
    ['vnodes', String(shard.vnode_count)],
    ['version', String(shard.version)],
    ['term', String(shard.term)],
    ['epoch', String(shard.epoch)],
    ...shard.nodes.map((node): [string, string] => [node.role, `${node.endpoint} (${node.id})`]),
    ['created', shard.created_at],
  ],
}

function rangeText({ hash_range_start: start, hash_range_end: end }: Shard): string {
  return start === null || end === null ? 'not one range' : `${start} to ${end}`
}

/** A keyspace. */
export const keyspaceView: View<Keyspace> = {
  name: (keyspace) => keyspace.name,
  columns: [
    { header: 'NAME', cell: (keyspace) => keyspace.name, whole: true },
    { header: 'SHARDS', cell: (keyspace) => keyspace.shard_count, align: 'right' },
    { header: 'TABLES', cell: (keyspace) => keyspace.table_count, align: 'right' },
    { header: 'HASH', cell: (keyspace) => keyspace.hash },
    { header: 'STRATEGY', cell: (keyspace) => keyspace.strategy, wide: true },
    { header: 'CONSISTENCY', cell: (keyspace) => keyspace.default_consistency },
    { header: 'DURABILITY', cell: (keyspace) => keyspace.durability ?? 'by replicas' },
    { header: 'EPOCH', cell: (keyspace) => keyspace.epoch, align: 'right' },
    { header: 'VERSION', cell: (keyspace) => keyspace.version, align: 'right', wide: true },
    { header: 'CREATED', cell: (keyspace) => keyspace.created_at, wide: true },
  ],
}

/** A declared table. */
export const tableView: View<Table> = {
  name: (table) => table.name,
  columns: [
    { header: 'NAME', cell: (table) => table.name, whole: true },
    { header: 'KIND', cell: (table) => table.kind },
    { header: 'KEY', cell: (table) => table.key_column },
    { header: 'TYPE', cell: (table) => table.key_type },
    { header: 'HOME SHARD', cell: (table) => table.home_shard, wide: true },
    { header: 'VERSION', cell: (table) => table.version, align: 'right', wide: true },
    { header: 'CREATED', cell: (table) => table.created_at, wide: true },
  ],
}

/** What introspection makes of a table. */
export const suggestionView: View<TableSuggestion> = {
  name: (table) => table.name,
  columns: [
    { header: 'TABLE', cell: (table) => table.name, whole: true },
    { header: 'ROWS', cell: (table) => table.estimated_rows, align: 'right' },
    { header: 'KIND', cell: (table) => table.kind },
    { header: 'KEY', cell: (table) => table.key_column },
    { header: 'TYPE', cell: (table) => table.key_type },
    { header: 'DECLARED', cell: (table) => (table.declared ? 'yes' : 'no') },
    { header: 'REASON', cell: (table) => table.reason },
    { header: 'OBSTACLE', cell: (table) => table.obstacle, paint: (_table, style) => style.yellow },
  ],
}

/** A database server. */
export const nodeView: View<FleetNode> = {
  name: (node) => node.id,
  columns: [
    { header: 'ID', cell: (node) => node.id, whole: true },
    { header: 'ROLE', cell: (node) => node.role },
    { header: 'SHARD', cell: (node) => node.shard_id },
    { header: 'KEYSPACE', cell: (node) => node.keyspace, wide: true },
    { header: 'ENDPOINT', cell: (node) => node.endpoint },
    { header: 'TLS', cell: (node) => node.tls, wide: true },
    { header: 'REGION', cell: (node) => node.region, wide: true },
    { header: 'ZONE', cell: (node) => node.zone, wide: true },
    { header: 'AGENT', cell: (node) => node.agent },
  ],
}

/** A job. */
export const jobView: View<Job> = {
  name: (job) => job.id,
  columns: [
    { header: 'ID', cell: (job) => job.id, whole: true },
    { header: 'TYPE', cell: (job) => job.type },
    { header: 'KEYSPACE', cell: (job) => job.keyspace },
    { header: 'STATUS', cell: (job) => job.status, paint: (job, style) => paintStatus(job.status, style) },
    { header: 'PHASE', cell: (job) => job.phase },
    { header: 'PROGRESS', cell: (job) => `${(job.progress * 100).toFixed(0)}%`, align: 'right' },
    { header: 'CREATED', cell: (job) => job.created_at },
    { header: 'COMPLETED', cell: (job) => job.completed_at, wide: true },
    { header: 'ERROR', cell: (job) => job.error_message, paint: (_job, style) => style.red },
  ],
}

/** A split, merge or move. */
export const reshardJobView: View<ReshardJob> = {
  name: (job) => job.id,
  columns: [
    { header: 'ID', cell: (job) => job.id, whole: true },
    { header: 'TYPE', cell: (job) => job.type },
    { header: 'STATUS', cell: (job) => job.status, paint: (job, style) => paintStatus(job.status, style) },
    { header: 'PHASE', cell: (job) => job.phase },
    { header: 'PROGRESS', cell: (job) => `${(job.progress * 100).toFixed(0)}%`, align: 'right' },
    { header: 'ROWS', cell: (job) => job.keys_migrated, align: 'right' },
    { header: 'FROM', cell: (job) => job.source_shards.join(',') },
    { header: 'TO', cell: (job) => job.target_shards.join(',') },
  ],
  details: (job) => [
    ['id', job.id],
    ['type', job.type],
    ['keyspace', job.keyspace],
    ['from', job.source_shards.join(', ')],
    ['to', job.target_shards.join(', ')],
    ['status', `${job.status} (${job.phase}, ${(job.progress * 100).toFixed(0)}%)`],
    ['rows', `${String(job.keys_migrated)} of ${String(job.total_keys)}`],
    ...(job.lag_ms === null ? [] : [['lag', lagText(job)] as [string, string]]),
    ...(job.rows_per_second === null ? [] : [['rate', rateText(job)] as [string, string]]),
    ...(job.throttle === null ? [] : [['throttled', job.throttle] as [string, string]]),
    ['verified', verifiedText(job)],
    ['held', job.hold_ms === null ? 'not yet' : `${String(job.hold_ms)} ms`],
    ...(job.reversible_until === null
      ? []
      : [['reversible', `until ${job.reversible_until}`] as [string, string]]),
    ...(job.not_reversible_because === null
      ? []
      : [['not reversible', job.not_reversible_because] as [string, string]]),
    ...(job.waits_for === null ? [] : [['waits for', job.waits_for] as [string, string]]),
    ...(job.error_message === null ? [] : [['error', job.error_message] as [string, string]]),
    ['created', job.created_at],
    ['completed', job.completed_at ?? 'not yet'],
  ],
}

/** A comparison. */
export const vdiffJobView: View<VdiffJob> = {
  name: (job) => job.id,
  columns: [
    { header: 'ID', cell: (job) => job.id, whole: true },
    { header: 'STATUS', cell: (job) => job.status, paint: (job, style) => paintStatus(job.status, style) },
    { header: 'DIFFERENCES', cell: (job) => job.differences, align: 'right' },
  ],
  details: (job) => [
    ['id', job.id],
    ['keyspace', job.keyspace],
    ['compares', job.job_id === null ? 'all shards' : `sources and targets of ${job.job_id}`],
    ['status', `${job.status} (${(job.progress * 100).toFixed(0)}%)`],
    ...job.tables.map((table): [string, string] => [table.name, tableText(table)]),
    ...job.tables.flatMap(({ name, samples }) =>
      samples.map(({ kind, key, shards }): [string, string] => [
        name,
        `${kind}: ${key} on ${shards.join(', ')}`,
      ]),
    ),
    ...(job.error_message === null ? [] : [['error', job.error_message] as [string, string]]),
  ],
}

function tableText(table: VdiffTable): string {
  const kinds = ['missing', 'extra', 'different', 'misplaced', 'duplicated'] as const
  const found = kinds.filter((kind) => table[kind] > 0).map((kind) => `${String(table[kind])} ${kind}`)
  const more = table.has_more ? ', and more' : ''
  return `${String(table.rows)} rows, ${found.length === 0 ? 'as they should be' : found.join(', ')}${more}`
}

function lagText({ lag_ms: ms, lag_bytes: bytes, retained_wal_bytes: retained }: ReshardJob): string {
  return `${String(ms)} ms, ${String(bytes)} bytes; the slot holds back ${String(retained)} bytes of log`
}

function rateText({ rows_per_second: rows, bytes_per_second: bytes }: ReshardJob): string {
  return `${String(rows)} rows, ${String(bytes)} bytes a second`
}

function verifiedText({ verify }: ReshardJob): string {
  if (verify === null) return 'not yet'
  if (verify.differences.length > 0) return `${String(verify.differences.length)} differences`
  return `${String(verify.rows)} rows alike at ${verify.at}`
}
