// From a request to a job: the shards named are looked at, targets made where they are new, and the job written.
// Workers do the rest.
import { randomUUID } from 'node:crypto'
import {
  addShard,
  buildRing,
  FleetError,
  mergeShards,
  parseJobId,
  parseKeyspaceName,
  parseShardId,
  shareOf,
  splitShard,
  vnodeCountDefault,
  type JobRecord,
  type KeyspaceSnapshot,
  type ReceivingShard,
  type RingChange,
  type ShardId,
  type ShardRecord,
} from '@fleetshard/core'
import type {
  MergeShards,
  MoveShard,
  RebalanceShards,
  ReshardPlan,
  ReshardTarget,
  SplitShard,
} from '@fleetshard/core/contract'
import {
  newReshardJobDetail,
  reshardJobType,
  reshardShardsMax,
  type ReshardJobDetail,
  type TableFacts,
} from '../../../engine/mod.ts'
import type { Work } from '../parts.ts'
import { createShard, orderOf, refuseDuringSchemaJob } from '../shards/create.ts'
import { primaryOf } from '../shards/fence.ts'
import { targetOf as targetOfNode } from '../shards/node-group.ts'
import { removeShard } from '../shards/remove.ts'
import { refuseShardDuringReshard } from './guard.ts'

/** How long the sources may take to say what they hold. */
const planMsMax = 15_000
/** Ended jobs that are kept. */
const jobsKept = 1_000

/** What is asked for, whichever way. */
export interface ReshardOrder {
  readonly kind: ReshardJobDetail['kind']
  readonly sources: readonly string[]
  readonly targets: readonly ReshardTarget[]
  readonly splitPoint: string | null
  /** Of a split: the source keeps the first part. */
  readonly keepSource: boolean
  /** How long the rows can be brought back; 0: not at all. */
  readonly reversibleSeconds: number
}

type WayBackAsked = Pick<MoveShard, 'reversible_seconds'>

const reversibleOf = ({ reversible_seconds: seconds = 0 }: WayBackAsked) => ({
  reversibleSeconds: seconds,
})

/** @throws FleetError `reshard_refused` for what is not supported, `invalid_request` */
export function orderOfSplit(body: SplitShard): ReshardOrder {
  const { target_shards: targets, keep_source: keepSource = false, split_point: splitPoint = null } = body
  if (targets.length < 2 && !keepSource) {
    throw new FleetError('invalid_request', 'a split needs at least two target shards', {
      hint: 'set keep_source to leave a part where it is; POST /api/v1/reshard/move brings a shard to other servers',
    })
  }
  const sources = [body.source_shard_id]
  return { kind: 'split', sources, targets, splitPoint, keepSource, ...reversibleOf(body) }
}

/** The order of a merge. */
export function orderOfMerge(body: MergeShards): ReshardOrder {
  const { source_shard_ids: sources, target_shard: target } = body
  return { kind: 'merge', sources, targets: [target], ...whole, ...reversibleOf(body) }
}

/** The order of a move. */
export function orderOfMove(body: MoveShard): ReshardOrder {
  const { source_shard_id: source, target_shard: target } = body
  return { kind: 'move', sources: [source], targets: [target], ...whole, ...reversibleOf(body) }
}

/** All ranges of the sources move. */
const whole = { splitPoint: null, keepSource: false }

/** The order of a rebalance: every shard that owns something may give. @throws FleetError `not_found`, `conflict` */
export function orderOfRebalance({ parts }: Pick<Work, 'parts'>, body: RebalanceShards): ReshardOrder {
  const { keyspace = 'default', target_shard: target } = body
  const { shards } = parts.fleet.keyspace(parseKeyspaceName(keyspace))
  const sources = shards.filter(({ vnodes }) => vnodes !== '').map(({ id }) => id)
  if (sources.length === 0) {
    throw new FleetError('conflict', `no shard of ${keyspace} owns anything`, {
      hint: 'the first shard gets all ranges when it is created: fleetshard shard create',
    })
  }
  if (sources.length > reshardShardsMax) {
    throw new FleetError('reshard_refused', `one job takes from at most ${String(reshardShardsMax)} shards`, {
      hint: 'split single shards with keep_source',
    })
  }
  return { kind: 'rebalance', sources, targets: [target], ...whole, ...reversibleOf(body) }
}

/** Everything about an order that can be told before anything is made. @throws FleetError */
export function checkOrder(work: Pick<Work, 'parts'>, order: ReshardOrder): KeyspaceSnapshot {
  const { fleet } = work.parts
  const [first = ''] = order.sources
  const { snapshot } = fleet.shard(first)
  for (const id of order.sources) {
    const found = fleet.shard(id)
    if (found.snapshot.keyspace.name !== snapshot.keyspace.name) {
      throw new FleetError('invalid_request', 'the shards lie in different keyspaces')
    }
    refuseShardDuringReshard(work, found.shard)
    if (found.shard.status !== 'active') {
      throw new FleetError('reshard_refused', `the source ${id} is ${found.shard.status}`, {
        hint: 'only a shard that serves can be moved: set it to active first',
      })
    }
  }
  const names = new Set(order.targets.map(({ name }) => name))
  if (names.size < order.targets.length) throw new FleetError('invalid_request', 'a target is named twice')
  for (const target of order.targets) checkTarget(work, snapshot, order, target)
  // The same check that the job makes, on names in place of ids.
  changeOf(
    snapshot,
    order,
    order.targets.map((target, index) => receiver(target, `target-${String(index)}`)),
  )
  return snapshot
}

function checkTarget(
  work: Pick<Work, 'parts'>,
  snapshot: KeyspaceSnapshot,
  order: ReshardOrder,
  target: ReshardTarget,
): void {
  const known = snapshot.shards.find(({ name, id }) => name === target.name || id === target.name)
  if (!isStanding(target)) {
    if (known === undefined) return
    throw new FleetError('already_exists', `a shard of the name ${JSON.stringify(target.name)} exists`, {
      hint: 'choose another name, or leave out the servers to move rows to that shard',
    })
  }
  if (known === undefined) {
    throw new FleetError('not_found', `there is no shard ${JSON.stringify(target.name)}`, {
      hint: 'give primary_endpoint, or nodes: "embedded", to have it made',
    })
  }
  if (order.sources.includes(known.id)) {
    throw new FleetError('reshard_refused', `the shard ${known.id} is both source and target`, {
      hint: 'move to a new shard: no row may lie on a target before',
    })
  }
  refuseShardDuringReshard(work, known)
  if (known.vnodes === '') return
  throw new FleetError('reshard_refused', `the target ${known.id} owns ranges already`, {
    hint: 'move to a shard that owns none: a new one, or one whose ranges were moved away',
  })
}

/** A shard that exists: neither endpoints nor embedded servers are given. */
const isStanding = ({ primary_endpoint: primary, nodes }: ReshardTarget): boolean =>
  primary === undefined && nodes === undefined

const receiver = (
  { vnode_count: vnodeCount = vnodeCountDefault }: ReshardTarget,
  id: string,
): ReceivingShard => ({
  id: parseShardId(id),
  vnodeCount,
})

function changeOf(
  snapshot: KeyspaceSnapshot,
  { kind, sources, splitPoint, keepSource }: ReshardOrder,
  targets: readonly ReceivingShard[],
): RingChange {
  const ring = buildRing(snapshot.shards.filter(({ vnodes }) => vnodes !== ''))
  const [source = ''] = sources
  const [target] = targets
  if (target === undefined) throw new FleetError('invalid_request', 'a move without a target')
  if (kind === 'rebalance') return addShard(ring, target)
  if (kind !== 'split') return mergeShards(ring, { sources: sources.map(parseShardId), target })
  const point = splitPoint === null ? {} : { splitPoint }
  return splitShard(ring, { source: parseShardId(source), targets, keepSource, ...point })
}

/** What would be done. @throws FleetError `shard_unavailable` when a source cannot be asked what it holds */
export async function planOf(
  { parts }: Pick<Work, 'parts'>,
  order: ReshardOrder,
  signal: AbortSignal = AbortSignal.timeout(planMsMax),
): Promise<ReshardPlan> {
  const snapshot = checkOrder({ parts }, order)
  const declared = new Set(snapshot.tables.map(({ name }) => name))
  const sources = snapshot.shards.filter(({ id }) => order.sources.includes(id))
  const found = await Promise.all(
    sources.map(async (shard) => {
      const target = await targetOfNode(parts, primaryOf(shard), signal)
      const facts = await parts.engine('postgres').describeTables(target, { signal })
      return facts.filter(({ name }) => declared.has(name))
    }),
  )
  const sum = (read: (table: TableFacts) => number): number =>
    found.flat().reduce((total, table) => total + read(table), 0)
  const targets = order.targets.map((target, index) => receiver(target, `target-${String(index)}`))
  const { moves } = changeOf(snapshot, order, targets)
  const irreversible = irreversibleBecause(order) ?? clashing(order, snapshot, found.flat())
  return {
    type: order.kind,
    source_shards: [...order.sources],
    target_shards: order.targets.map(({ name }) => name),
    target_shares: targets.map(({ id }) => shareOf(moves.filter(({ to }) => to === id))),
    ranges: moves.length,
    tables: [...declared],
    rows: sum(({ rowsEstimate }) => Math.max(0, Math.round(rowsEstimate ?? 0))),
    bytes: sum(({ bytes }) => bytes),
    reversible_seconds: irreversible === null ? order.reversibleSeconds : 0,
    not_reversible_because: irreversible,
    held: `writes and strong reads of ${order.sources.join(', ')}, for some tens of milliseconds`,
  }
}

/** Why the rows of such an order could not be brought back, whatever the tables are. */
function irreversibleBecause({ kind, keepSource }: ReshardOrder): string | null {
  if (kind !== 'rebalance' && !keepSource) return null
  return 'the sources keep a part of their ranges, whose rows the others could not come back among'
}

/** Rows of several targets come back by streams of their own: they must not clash. */
function clashing(
  { targets }: ReshardOrder,
  snapshot: KeyspaceSnapshot,
  found: readonly TableFacts[],
): string | null {
  if (targets.length < 2) return null
  const clash = found.find(({ name, uniques }) => {
    const key = snapshot.tables.find((table) => table.name === name)?.keyColumn ?? null
    return key !== null && uniques.some(({ columns }) => !columns.includes(key))
  })
  if (clash === undefined) return null
  return `a unique constraint of ${clash.name} does not have the shard key in it, so that rows of several targets may clash`
}

/** @throws FleetError `reshard_refused` */
function requireReversible(order: ReshardOrder): void {
  const reason = order.reversibleSeconds === 0 ? null : irreversibleBecause(order)
  if (reason === null) return
  throw new FleetError('reshard_refused', `the rows could not be brought back: ${reason}`, {
    hint: 'leave reversible_seconds out; --reversible-seconds on the command line',
  })
}

/**
 * Makes the targets that are new, and writes the job.
 * @throws FleetError; targets that were made are removed again then
 */
export async function submitReshard(work: Work, order: ReshardOrder): Promise<JobRecord> {
  const { keyspace } = checkOrder(work, order)
  requireReversible(order)
  refuseDuringSchemaJob(work, keyspace.name)
  const made: ShardRecord[] = []
  try {
    const targets: ReshardJobDetail['targets'] = []
    for (const target of order.targets) {
      const { shard, isNew } = await targetOf(work, keyspace.name, target)
      if (isNew) made.push(shard)
      targets.push({ shard: shard.id, vnodeCount: target.vnode_count ?? vnodeCountDefault })
    }
    return await writeJob(work, order, targets)
  } catch (error) {
    for (const shard of made) await removeAgain(work, shard.id)
    throw error
  }
}

async function targetOf(
  work: Work,
  keyspace: KeyspaceSnapshot['keyspace']['name'],
  target: ReshardTarget,
): Promise<{ readonly shard: ShardRecord; readonly isNew: boolean }> {
  const snapshot = work.parts.fleet.keyspace(keyspace)
  if (isStanding(target)) {
    const known = snapshot.shards.find(({ name, id }) => name === target.name || id === target.name)
    if (known === undefined) throw new FleetError('not_found', `there is no shard ${target.name}`)
    return { shard: known, isNew: false }
  }
  const { shard, stored } = await createShard(work, snapshot, orderOf({ ...target, keyspace }), {
    because: 'rows are being moved to it',
  })
  const { epoch } = stored.snapshot
  await work.parts.fleet.shown(({ keyspaces }) => (keyspaces.get(keyspace)?.epoch ?? -1) >= epoch)
  return { shard, isNew: true }
}

async function removeAgain(work: Work, id: ShardId): Promise<void> {
  try {
    await removeShard(work, id, null)
  } catch (error) {
    work.parts.log.warn({ err: error, shard: id }, 'the target of a move that did not begin is left over')
  }
}

async function writeJob(
  work: Work,
  order: ReshardOrder,
  targets: ReshardJobDetail['targets'],
): Promise<JobRecord> {
  const { parts, signal } = work
  const { snapshot } = parts.fleet.shard(order.sources[0] ?? '')
  const { name } = snapshot.keyspace
  return parts.mutex.run(name, signal, async () => {
    refuseDuringSchemaJob(work, name)
    for (const id of order.sources) refuseShardDuringReshard(work, parts.fleet.shard(id).shard)
    const receivers = targets.map(({ shard, vnodeCount }) => ({ id: shard, vnodeCount }))
    const { moves } = changeOf(parts.fleet.keyspace(name), order, receivers)
    const giving = new Set(moves.map(({ from }) => from))
    const { record } = await parts.catalog.jobs.create(
      {
        id: parseJobId(`${order.kind}-${randomUUID().slice(0, 8)}`),
        type: reshardJobType,
        keyspace: name,
        status: 'pending',
        state: 'planned',
        progress: 0,
        detail: newReshardJobDetail({
          kind: order.kind,
          sources: order.sources.map(parseShardId).filter((id) => giving.has(id)),
          targets,
          splitPoint: order.splitPoint,
          keepSource: order.keepSource,
          reversibleMs: order.reversibleSeconds * 1_000,
        }),
        errorCode: null,
        errorMessage: null,
        version: 1,
        createdAt: new Date(parts.clock.now()).toISOString(),
        startedAt: null,
        completedAt: null,
        ...work.change.traced,
      },
      { conditions: [work.change.condition], signal },
    )
    // Under the mutex: no change of the keyspace may begin before the live copy shows the job.
    await parts.fleet.shown(({ jobs }) => jobs.has(record.id))
    await parts.catalog.jobs.prune(jobsKept, signal).catch(() => 0)
    return record
  })
}
