// A checked shard's way into the catalog: where no row can be lost sight of it gets its place on the ring at once,
// else it stays inactive, without ranges, and says why.
import {
  FleetError,
  type HashRange,
  type KeyspaceSnapshot,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import type { PlanRouting, RoutingPlan, StoredKeyspace, StoreWrite } from '../../../catalog/mod.ts'
import type { Work } from '../parts.ts'
import { changeFenced } from './fence.ts'
import { nameTaken } from './reservations.ts'

/** A shard that has passed its checks and is not in the ring. */
export interface Newcomer {
  /** As it is to be recorded; vnodes and status are given here. */
  readonly record: ShardRecord
  readonly vnodeCount: number
  /** Why it can't serve yet; null when its database is ready. */
  readonly obstacle: string | null
  /** Of the same commit: passwords. */
  readonly writes: readonly StoreWrite[]
  /** The version that the change was decided on; null for a new shard. */
  readonly version: number | null
  /** Set by the deal that is committed. */
  readonly dealt: { ranges: readonly HashRange[] }
}

/** The shard as it was committed. */
export interface Placed {
  readonly stored: StoredKeyspace
  readonly shard: ShardRecord
  /** What it owns; null for who wants to know to look at the ring. */
  readonly ranges: readonly HashRange[] | null
}

/**
 * Commits the shard. `active` with ranges when nobody owned any, or when no sharded or reference table holds a row;
 * else `inactive` with the reason.
 * @throws FleetError `already_exists`, `version_mismatch`, `catalog_conflict`, `catalog_unavailable`
 */
export async function placeShard(work: Work, newcomer: Newcomer): Promise<Placed> {
  const { routing } = work.parts
  const { snapshot } = await routing.base(newcomer.record.keyspace, work.signal)
  if (newcomer.obstacle !== null) return park(work, newcomer, newcomer.obstacle)
  const owners = snapshot.shards.filter(({ vnodes }) => vnodes !== '')
  const tables = tablesWithRowsToMove(snapshot)
  if (owners.length === 0 || tables.length === 0) {
    const checked: PlanRouting = (current) => {
      if (owners.length === 0 || tablesWithRowsToMove(current).length === 0)
        return dealt(work, current, newcomer)
      throw new FleetError('catalog_conflict', `tables of ${snapshot.keyspace.name} were declared meanwhile`)
    }
    return placed(await routing.change(snapshot.keyspace.name, checked, work.change), newcomer)
  }
  return placeFenced(work, newcomer, { snapshot, owners, tables })
}

async function placeFenced(
  work: Work,
  newcomer: Newcomer,
  ring: {
    readonly snapshot: KeyspaceSnapshot
    readonly owners: readonly ShardRecord[]
    readonly tables: readonly TableRecord[]
  },
): Promise<Placed> {
  const plan: PlanRouting = (current) => dealt(work, current, newcomer)
  const wanted = { snapshot: ring.snapshot, shards: ring.owners, tables: ring.tables, plan }
  let reason: string
  try {
    const outcome = await changeFenced(work, wanted)
    if (outcome.kind === 'changed') return placed(outcome.stored, newcomer)
    reason =
      outcome.because === 'rows'
        ? `${outcome.reason}: a reshard hands ranges to it (fleetshard reshard rebalance --to ${newcomer.record.name})`
        : `the ring was not dealt anew, ${outcome.reason}; set the status to active to try again`
  } catch (error) {
    work.signal.throwIfAborted()
    if (!(error instanceof FleetError) || !UNREADY.has(error.code)) throw error
    reason = `the ring was not dealt anew: ${error.message}; set the status to active to try again`
  }
  return park(work, newcomer, reason)
}

/** Codes that tell of the other shards, not of the catalog. */
const UNREADY = new Set([
  'shard_unavailable',
  'deadline_exceeded',
  'wrong_database',
  'not_found',
  'node_check_failed',
])

/** Rows of these would lie on the wrong shard, or be missing on the new one. */
function tablesWithRowsToMove({ tables }: KeyspaceSnapshot): readonly TableRecord[] {
  return tables.filter(({ kind }) => kind !== 'global')
}

async function park(work: Work, newcomer: Newcomer, reason: string): Promise<Placed> {
  const record: ShardRecord = { ...newcomer.record, status: 'inactive', statusReason: reason, vnodes: '' }
  const stored = await work.parts.routing.change(
    record.keyspace,
    (current) => plan(current, newcomer, record),
    work.change,
  )
  return placed(stored, newcomer)
}

function dealt(work: Work, current: KeyspaceSnapshot, newcomer: Newcomer): RoutingPlan {
  const { record, vnodeCount } = newcomer
  const { vnodes, ranges } = work.parts.rings.deal(current, { id: record.id, vnodeCount })
  newcomer.dealt.ranges = ranges
  return plan(current, newcomer, { ...record, status: 'active', statusReason: null, vnodes })
}

function plan(current: KeyspaceSnapshot, newcomer: Newcomer, record: ShardRecord): RoutingPlan {
  const before = current.shards.find(({ id }) => id === record.id)
  refuseStale(before, newcomer)
  const namesake = current.shards.find(({ id, name }) => name === record.name && id !== record.id)
  if (namesake !== undefined) throw nameTaken(record.name, record.keyspace, 'exists in')
  const nextSequenceBlock = Math.max(current.keyspace.nextSequenceBlock, record.sequenceBlock + 1)
  const isBlockNew = nextSequenceBlock !== current.keyspace.nextSequenceBlock
  return {
    put: [record],
    ...(isBlockNew ? { keyspace: { ...current.keyspace, nextSequenceBlock } } : {}),
    extras: { writes: newcomer.writes },
  }
}

function refuseStale(before: ShardRecord | undefined, { record, version }: Newcomer): void {
  if (version === null) {
    if (before === undefined) return
    throw new FleetError('already_exists', `the shard ${record.id} exists already`)
  }
  if (before?.version === version) return
  throw new FleetError('version_mismatch', `the shard ${record.id} was changed meanwhile`, {
    hint: 'read it again and repeat the change',
  })
}

function placed(stored: StoredKeyspace, { record, dealt: { ranges } }: Newcomer): Placed {
  const shard = stored.snapshot.shards.find(({ id }) => id === record.id)
  if (shard !== undefined) return { stored, shard, ranges: shard.vnodes === '' ? [] : ranges }
  throw new FleetError('internal', `the shard ${record.id} is missing after its commit`)
}
