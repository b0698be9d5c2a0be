// Routing changes of empty keyspaces, exact against routers that write at the same moment: the engine locks the
// tables on the shards that lose ranges, and the catalog changes while nobody can write a row there. The shards demand
// the new epoch before the catalog has it, so a job says so first; it goes in the commit of the change, or by
// repair-fences.ts.
import { randomUUID } from 'node:crypto'
import {
  FleetError,
  parseEpoch,
  parseJobId,
  type JobRecord,
  type KeyspaceSnapshot,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import type { Catalog, PlanRouting, RoutingPlan, Stored, StoredKeyspace } from '../../../catalog/mod.ts'
import type { FenceBodyOutcome, FenceResult, ShardTarget } from '../../../engine/mod.ts'
import type { Work } from '../parts.ts'
import { targetOf } from './node-group.ts'

/** How long the fence waits for writers of one shard. */
const lockTimeoutMs = 2_000
/** `type` of the job that is there while shards may demand an epoch that the catalog does not have. */
export const fenceJobType = 'fence'

/** What is to be changed, and what must be empty for it. */
export interface FencedChange {
  readonly snapshot: KeyspaceSnapshot
  /** Shards that lose ranges. */
  readonly shards: readonly ShardRecord[]
  /** Tables that must not hold a row there. */
  readonly tables: readonly TableRecord[]
  readonly plan: PlanRouting
}

/** `refused`: nothing was changed, for that reason. */
export type FencedOutcome =
  | { readonly kind: 'changed'; readonly stored: StoredKeyspace }
  | { readonly kind: 'refused'; readonly because: 'rows' | 'busy'; readonly reason: string }

/**
 * Makes the change if the tables are empty.
 * @throws FleetError `catalog_unavailable` when it can't be told whether it was made; others when it was not
 */
export async function changeFenced(work: Work, wanted: FencedChange): Promise<FencedOutcome> {
  const { snapshot } = wanted
  const targets = await Promise.all(
    wanted.shards.map(async (shard): Promise<ShardTarget> => {
      const primary = primaryOf(shard)
      return { shard: shard.id, target: await targetOf(work.parts, primary, work.signal) }
    }),
  )
  const box: Box = { job: null, stored: null }
  const result = await work.engine.fenceEmptyTables(
    {
      shards: targets,
      tables: wanted.tables.map(({ name }) => name),
      epochMin: parseEpoch(snapshot.epoch + 1),
      lockTimeoutMs,
    },
    {
      announce: async (signal) => {
        box.job = await announce(work, snapshot, signal)
        return null
      },
      change: (signal) => commitInside(work, wanted, signal, box),
    },
    { signal: work.signal },
  )
  return outcomeOf(result, box.stored)
}

/** What a fence leaves in the catalog: its job, then the change. */
interface Box {
  job: Stored<JobRecord> | null
  stored: StoredKeyspace | null
}

async function announce(
  { parts, change }: Work,
  { keyspace }: KeyspaceSnapshot,
  signal: AbortSignal,
): Promise<Stored<JobRecord>> {
  const now = new Date(parts.clock.now()).toISOString()
  const job: JobRecord = {
    id: parseJobId(`fence-${randomUUID()}`),
    type: fenceJobType,
    keyspace: keyspace.name,
    status: 'running',
    state: 'fencing',
    progress: 0,
    detail: {},
    errorCode: null,
    errorMessage: null,
    version: 1,
    createdAt: now,
    startedAt: now,
    completedAt: null,
  }
  return parts.catalog.jobs.create(job, { conditions: [change.condition], signal })
}

/** Any server of a shard record has exactly one primary. */
export function primaryOf(shard: ShardRecord): ShardRecord['nodes'][number] {
  const primary = shard.nodes.find(({ role }) => role === 'primary')
  if (primary !== undefined) return primary
  throw new FleetError('corrupt_record', `shard ${shard.id} has no primary`)
}

/** Codes after which the catalog certainly did not change. */
const CERTAIN = new Set([
  'version_mismatch',
  'catalog_conflict',
  'already_exists',
  'not_found',
  'conflict',
  'catalog_limit',
])

async function commitInside(
  work: Work,
  { snapshot, tables, plan }: FencedChange,
  signal: AbortSignal,
  box: Box,
): Promise<FenceBodyOutcome> {
  const { routing, catalog } = work.parts
  const checked: PlanRouting = (current) => {
    if (sameTables(current, snapshot)) return withoutJob(catalog, plan(current), box.job)
    throw new FleetError('catalog_conflict', `tables of ${snapshot.keyspace.name} were declared meanwhile`, {
      hint: 'try again',
    })
  }
  try {
    const change = { condition: work.change.condition, signal }
    box.stored = await routing.change(snapshot.keyspace.name, checked, change, snapshot.epoch)
    return 'committed'
  } catch (error) {
    if (error instanceof FleetError && CERTAIN.has(error.code)) throw error
    work.parts.log.warn({ err: error, tables: tables.length }, 'a fenced change has an unknown outcome')
    return 'unknown'
  }
}

/** The plan, with the end of the job in the same commit. */
function withoutJob(
  { jobs }: Pick<Catalog, 'jobs'>,
  plan: RoutingPlan,
  job: Stored<JobRecord> | null,
): RoutingPlan {
  if (job === null) return plan
  const { conditions, writes } = jobs.deleteParts(job)
  return {
    ...plan,
    extras: {
      conditions: [...(plan.extras?.conditions ?? []), ...conditions],
      writes: [...(plan.extras?.writes ?? []), ...writes],
    },
  }
}

function sameTables(a: KeyspaceSnapshot, b: KeyspaceSnapshot): boolean {
  const versions = new Map(b.tables.map((table) => [table.name, table.version]))
  return a.tables.length === b.tables.length && a.tables.every((t) => versions.get(t.name) === t.version)
}

/** @throws FleetError `conflict`, `catalog_conflict` or `catalog_unavailable` when the fence did not do its work */
export function refuseIfBusy(result: FenceResult): void {
  if (result.kind === 'fenced' && result.outcome === 'committed') return
  if (result.kind === 'busy') {
    throw new FleetError('conflict', `shard ${result.shard} is busy: ${result.reason}`, { hint: 'try again' })
  }
  throw new FleetError('catalog_conflict', 'the keyspace was changed at the same time', { hint: 'try again' })
}

function outcomeOf(result: FenceResult, stored: StoredKeyspace | null): FencedOutcome {
  switch (result.kind) {
    case 'not-empty':
      return {
        kind: 'refused',
        because: 'rows',
        reason: `${result.table} holds rows on shard ${result.shard}`,
      }
    case 'busy':
      return { kind: 'refused', because: 'busy', reason: `shard ${result.shard} is busy: ${result.reason}` }
    case 'conflict':
      throw new FleetError('catalog_conflict', 'the keyspace was changed at the same time', {
        hint: 'try again',
      })
    case 'fenced':
      if (stored !== null) return { kind: 'changed', stored }
      throw new FleetError('catalog_unavailable', 'it is not known whether the change was made', {
        hint: 'read the shard when the catalog is back, then decide',
      })
  }
}
