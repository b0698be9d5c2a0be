// What only the manager shows of the catalog; the shapes it shares with the router are core's contract/views.ts.
import {
  formatEndpoint,
  type HashRange,
  type JobRecord,
  type NodeRecord,
  type RouterRecord,
  type ShardRecord,
} from '@fleetshard/core'
import {
  nodeView,
  topologyShardView,
  type FleetNode,
  type Job,
  type ReshardJob,
  type Shard,
  type TableSuggestion,
  type TopologyRouter,
  type VdiffJob,
} from '@fleetshard/core/contract'
import {
  differencesOf,
  parseReshardJobDetail,
  parseVdiffJobDetail,
  type ReshardJobDetail,
  type TableFacts,
  type TableSuggestion as EngineSuggestion,
} from '../../engine/mod.ts'
import type { ServerView } from '../../agent-api/mod.ts'

/** What of the ring is told of a shard. */
export interface ShardPlace {
  readonly epoch: number
  /** Null when it owns nothing or several ranges. */
  readonly contiguous: HashRange | null
  /** Null leaves out tokens and ranges. */
  readonly ranges: readonly HashRange[] | null
}

/** A shard with what it owns. */
export function shardView(shard: ShardRecord, { epoch, contiguous, ranges }: ShardPlace): Shard {
  return {
    ...topologyShardView(shard, ranges !== null),
    epoch,
    hash_range_start: contiguous?.start ?? null,
    hash_range_end: contiguous?.end ?? null,
    ...(ranges === null ? {} : { ranges: ranges.map(({ start, end }) => ({ start, end })) }),
  }
}

/** One server with its shard. */
export function fleetNodeView(node: NodeRecord, shard: ShardRecord): FleetNode {
  return { ...nodeView(node), shard_id: shard.id, keyspace: shard.keyspace }
}

/** An embedded server that no shard uses. */
export function serverView(server: ServerView, agent: string): FleetNode {
  const { id, host, port, database, user, tls = 'disable' } = server
  return {
    id,
    role: server.kind === 'primary' ? 'primary' : 'replica',
    endpoint: formatEndpoint({ host, port, database, user, tls }),
    host,
    port,
    database,
    user,
    tls,
    region: null,
    zone: null,
    agent,
    shard_id: null,
    keyspace: null,
  }
}

/** What introspection makes of a table. */
export function suggestionView(
  suggestion: EngineSuggestion,
  facts: TableFacts | undefined,
  isDeclared: boolean,
): TableSuggestion {
  const rows = facts?.rowsEstimate ?? null
  return {
    name: suggestion.table,
    declared: isDeclared,
    estimated_rows: rows === null ? null : Math.max(0, Math.round(rows)),
    kind: suggestion.kind,
    key_column: suggestion.keyColumn,
    key_type: suggestion.keyType,
    reason: suggestion.reason,
    obstacle: suggestion.obstacle,
  }
}

/** One job. */
export function jobView(job: JobRecord): Job {
  return {
    id: job.id,
    type: job.type,
    keyspace: job.keyspace,
    status: job.status,
    phase: job.state,
    progress: job.progress,
    error_code: job.errorCode,
    error_message: job.errorMessage,
    version: job.version,
    created_at: job.createdAt,
    started_at: job.startedAt,
    completed_at: job.completedAt,
  }
}

/** The words of the reference for what a job does; the finer state stands beside them. */
const reshardStatuses: Readonly<Record<string, ReshardJob['status']>> = {
  planned: 'pending',
  preflight: 'pending',
  restarting: 'pending',
  copying: 'precopy',
  catching_up: 'deltasync',
  verifying: 'deltasync',
  ready: 'deltasync',
  cutover: 'cutover',
  reversible: 'cutover',
  reversing: 'cutover',
  cutover_back: 'cutover',
  removing: 'cutover',
  cleaning: 'cutover',
  paused: 'paused',
  completed: 'completed',
  failed: 'failed',
  cancelled: 'cancelled',
  rolled_back: 'cancelled',
}

/** One split, merge or move. */
export function reshardJobView(job: JobRecord): ReshardJob {
  const detail = parseReshardJobDetail(job.detail)
  const undone = detail.failure === null ? 'cancelled' : 'failed'
  return {
    id: job.id,
    type: detail.kind,
    keyspace: job.keyspace,
    source_shards: detail.sources,
    target_shards: detail.targets.map(({ shard }) => shard),
    status: reshardStatuses[job.state] ?? undone,
    phase: job.state,
    progress: job.progress,
    keys_migrated: detail.rowsCopied,
    total_keys: detail.rowsTotal,
    bytes_migrated: detail.bytesCopied,
    total_bytes: detail.bytesTotal,
    ...figuresView(detail.figures, job.state === 'copying'),
    order: detail.order,
    verify: detail.verification,
    hold_ms: detail.holdMs,
    reversible_until: detail.wayBack?.lostBecause === null ? detail.wayBack.until : null,
    not_reversible_because: detail.wayBack?.lostBecause ?? null,
    waits_for: detail.waitsFor,
    error_code: job.errorCode ?? detail.failure?.code ?? null,
    error_message: job.errorMessage ?? detail.failure?.message ?? null,
    version: job.version,
    created_at: job.createdAt,
    started_at: job.startedAt,
    completed_at: job.completedAt,
  }
}

const noFigures = {
  lag_ms: null,
  lag_bytes: null,
  retained_wal_bytes: null,
  rows_per_second: null,
  bytes_per_second: null,
  eta_ms: null,
  throttle: null,
} satisfies Partial<ReshardJob>

/** As the copy saw them last. */
function figuresView(
  figures: ReshardJobDetail['figures'],
  isCopying: boolean,
): Pick<ReshardJob, keyof typeof noFigures> {
  if (figures === undefined) return noFigures
  return {
    lag_ms: figures.lagMs,
    lag_bytes: figures.lagBytes,
    retained_wal_bytes: figures.retainedWalBytes,
    rows_per_second: figures.rowsPerSecond,
    bytes_per_second: figures.bytesPerSecond,
    eta_ms: isCopying ? figures.etaMs : null,
    throttle: isCopying ? figures.throttle : null,
  }
}

/** One comparison. */
export function vdiffJobView(job: JobRecord): VdiffJob {
  const { compares, results, waitsFor } = parseVdiffJobDetail(job.detail)
  return {
    id: job.id,
    keyspace: job.keyspace,
    job_id: compares.kind === 'job' ? compares.job : null,
    status: job.status,
    progress: job.progress,
    tables: results.map(({ isCut, ...table }) => ({ ...table, has_more: isCut })),
    differences: results.reduce((sum, table) => sum + differencesOf(table), 0),
    waits_for: waitsFor,
    error_code: job.errorCode,
    error_message: job.errorMessage,
    version: job.version,
    created_at: job.createdAt,
    started_at: job.startedAt,
    completed_at: job.completedAt,
  }
}

/** One running router. */
export function routerView(router: RouterRecord): TopologyRouter {
  return {
    id: router.id,
    kind: router.kind ?? 'router',
    host: router.host,
    http_port: router.httpPort,
    version: router.version,
    acked_epochs: { ...router.ackedEpochs },
    started_at: router.startedAt,
  }
}
