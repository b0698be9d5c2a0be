// The one way to change routing: shards and epoch e → e+1 in one commit, conditioned on the epoch's key.
import {
  FleetError,
  parseEpoch,
  type KeyspaceName,
  type KeyspaceSnapshot,
  type ShardId,
  type ShardRecord,
} from '@fleetshard/core'
import {
  changeAttemptsMax,
  type CommitExtras,
  type PlanRouting,
  type RoutingOptions,
  type RoutingPlan,
  type StoredKeyspace,
} from './contract.ts'
import { keys } from './keys.ts'
import { guarded, notFound, readKeyspace } from './keyspaces.ts'
import { commitWith, conflict, revisionOf } from './record-set.ts'
import { codecs } from './records.ts'
import type { CatalogStore, KeyRevision, StoreWrite } from './store.ts'

/** At most this many shards are put or deleted by one routing change; the rest of a commit is for its extras. */
export const routingShardsMax = 56

/** See `Catalog.changeRouting`. */
export async function changeRouting(
  store: CatalogStore,
  name: KeyspaceName,
  plan: PlanRouting,
  options: RoutingOptions,
): Promise<StoredKeyspace> {
  if (options.base !== undefined) {
    const done = await attemptOnBase(store, options.base, plan, options)
    if (done !== null) return done
  }
  let tried: KeyRevision | null = null
  for (let attempts = 0; attempts < changeAttemptsMax; attempts++) {
    const current = await readKeyspace(store, name, options.signal)
    if (current === null) throw notFound(name)
    checkEpoch(current.snapshot, options)
    // Refused although the keyspace stayed the same: it was a condition of the caller's.
    if (current.epochRevision === tried) break
    const done = await attempt(store, current, plan(current.snapshot), options)
    if (done !== null) return done
    tried = current.epochRevision
  }
  throw conflict(`routing of keyspace ${name}`)
}

/** Null when the base does not serve: it is old, or the plan refuses it, which an old one may be the reason of. */
async function attemptOnBase(
  store: CatalogStore,
  base: StoredKeyspace,
  plan: PlanRouting,
  options: RoutingOptions,
): Promise<StoredKeyspace | null> {
  if (options.expectedEpoch !== undefined && options.expectedEpoch !== base.snapshot.epoch) return null
  let planned: RoutingPlan
  try {
    planned = plan(base.snapshot)
  } catch {
    return null
  }
  return attempt(store, base, planned, options)
}

function checkEpoch(snapshot: KeyspaceSnapshot, { expectedEpoch }: RoutingOptions): void {
  if (expectedEpoch === undefined || expectedEpoch === snapshot.epoch) return
  const found = `the keyspace ${snapshot.keyspace.name} is at epoch ${snapshot.epoch}, not ${expectedEpoch}`
  throw new FleetError('version_mismatch', found, { facts: { epoch: snapshot.epoch } })
}

async function attempt(
  store: CatalogStore,
  base: StoredKeyspace,
  plan: RoutingPlan,
  options: RoutingOptions,
): Promise<StoredKeyspace | null> {
  const next = applyPlan(base.snapshot, plan)
  const { name } = next.keyspace
  const own = guarded(name, { epoch: next.epoch, revision: base.epochRevision }, routingWrites(next, plan))
  const extras: CommitExtras = {
    conditions: [...(options.conditions ?? []), ...(plan.extras?.conditions ?? [])],
    writes: plan.extras?.writes ?? [],
  }
  const result = await commitWith(store, own, extras, options.signal)
  if (result.kind === 'conflict') return null
  return { snapshot: next, epochRevision: revisionOf(result, keys.epoch(name)) }
}

function routingWrites(next: KeyspaceSnapshot, plan: RoutingPlan): StoreWrite[] {
  const { name } = next.keyspace
  const changed = new Set(plan.put?.map((shard) => shard.id))
  const puts = next.shards
    .filter((shard) => changed.has(shard.id))
    .map((shard): StoreWrite => {
      const key = keys.shard(name, shard.id)
      return { kind: 'put', key, value: codecs.shard.encode(key, shard) }
    })
  const deletes = (plan.delete ?? []).map((id): StoreWrite => ({ kind: 'delete', key: keys.shard(name, id) }))
  if (plan.keyspace === undefined) return [...puts, ...deletes]
  const key = keys.keyspace(name)
  return [{ kind: 'put', key, value: codecs.keyspace.encode(key, next.keyspace) }, ...puts, ...deletes]
}

/** What the keyspace is after the plan. @throws FleetError `catalog_limit`, `not_found`, `internal` */
function applyPlan(snapshot: KeyspaceSnapshot, plan: RoutingPlan): KeyspaceSnapshot {
  const { keyspace } = snapshot
  const touched = (plan.put?.length ?? 0) + (plan.delete?.length ?? 0)
  if (touched > routingShardsMax) {
    throw new FleetError('catalog_limit', `a routing change of ${touched} shards`, {
      hint: `change at most ${routingShardsMax} shards at once`,
    })
  }
  const shards = new Map(snapshot.shards.map((shard) => [shard.id, shard]))
  for (const shard of plan.put ?? []) shards.set(shard.id, nextShard(keyspace.name, shards, shard))
  for (const id of plan.delete ?? []) deleteShard(shards, id)
  return {
    ...snapshot,
    epoch: parseEpoch(snapshot.epoch + 1),
    keyspace: plan.keyspace === undefined ? keyspace : { ...plan.keyspace, version: keyspace.version + 1 },
    shards: [...shards.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1)),
  }
}

function deleteShard(shards: Map<ShardId, ShardRecord>, id: ShardId): void {
  if (!shards.delete(id)) throw new FleetError('not_found', `there is no shard ${id}`)
}

function nextShard(
  keyspace: KeyspaceName,
  shards: ReadonlyMap<ShardId, ShardRecord>,
  shard: ShardRecord,
): ShardRecord {
  const before = shards.get(shard.id)
  if (shard.keyspace !== keyspace) {
    throw new FleetError('internal', `shard ${shard.id} is not of keyspace ${keyspace}`)
  }
  if (before !== undefined && shard.term < before.term) {
    throw new FleetError('internal', `shard ${shard.id} has term ${before.term}, which cannot become lower`)
  }
  return { ...shard, version: (before?.version ?? 0) + 1 }
}
