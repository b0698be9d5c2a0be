// From the plan of a statement and the values of a call to the shard that answers it.
import {
  assertNever,
  FleetError,
  ownerOfUntyped,
  type KeyType,
  type ShardMap,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import type { KnownStatement } from './cache.ts'
import { noTarget, type RouteTarget } from './hint.ts'
import { planOf, type Keys, type Plan } from './plan.ts'
import { keysOfSlot, type Values } from './slot-values.ts'
import { slotKey } from './slot-key.ts'

/** What a call brings to a plan. */
export interface PlacementRequest extends Values {
  /** The key that the caller names; it outranks what the statement shows. */
  readonly shardKey?: string | number | undefined
  /** The shard that the caller names instead, by its id (or its name, which a hint may give too). */
  readonly shardId?: string | undefined
  /** Where a hint or a session sends the call; it outranks the two above. */
  readonly target?: RouteTarget | undefined
}

/** Where a call goes: one shard, or several, which no statement may yet. */
export type Placement =
  | { readonly kind: 'one'; readonly shard: ShardRecord }
  | { readonly kind: 'several'; readonly shards: readonly ShardRecord[]; readonly error: FleetError }

/**
 * The one shard that runs the statement.
 * @throws FleetError `no_shard`, `shard_key_required`, `table_not_declared`, `cross_shard`, `invalid_shard_key`, `statement_refused`,
 * `not_found` for a shard that is named
 */
export function placeStatement(known: KnownStatement, map: ShardMap, request: PlacementRequest): ShardRecord {
  const placement = placementOf(known, map, request)
  if (placement.kind === 'several') throw placement.error
  return placement.shard
}

/**
 * Where the statement goes with these values.
 * @throws FleetError as `placeStatement`, but for keys of the statement's own that lie on several shards
 */
export function placementOf(known: KnownStatement, map: ShardMap, request: PlacementRequest): Placement {
  const plan = planOf(known, map)
  const named = placeNamed(targetIn(known, request), plan, map)
  if (named === null && map.owners.length === 0) throw noShard(map)
  const only = map.owners.length === 1 ? map.owners[0] : undefined
  if (only !== undefined && !map.hasLeftovers) return one(named ?? only)
  switch (plan.kind) {
    case 'keyed':
      return withMeeting(placeKeyed(plan.keys, map, request, named), plan, { map, named })
    case 'home':
      return withMeeting(one(placeHome(plan.table, map, named)), plan, { map, named })
    case 'any':
    case 'meeting':
      return one(named ?? anyOwner(map))
    case 'unkeyed':
      return placeUnkeyed(plan, map, request, named)
    case 'refused':
      throw new FleetError('statement_refused', plan.reason, { hint: plan.hint })
    default:
      return assertNever(plan)
  }
}

/**
 * Unless the caller says so himself, nothing meets anywhere but on the first shard.
 * @throws FleetError `cross_shard`
 */
function withMeeting(
  placement: Placement,
  { meets }: { readonly meets: string | null },
  { map, named }: { readonly map: ShardMap; readonly named: ShardRecord | null },
): Placement {
  if (meets === null || named !== null || placement.kind === 'several') return placement
  const first = anyOwner(map)
  if (placement.shard === first) return placement
  throw new FleetError(
    'cross_shard',
    `all sessions meet by ${meets} on shard ${first.name}, but the rows of the statement lie on ${placement.shard.name}`,
    {
      hint: 'send it as a statement of its own, or name the shard if only sessions that do so shall meet there',
    },
  )
}

function placeUnkeyed(
  plan: Extract<Plan, { kind: 'unkeyed' }>,
  map: ShardMap,
  request: PlacementRequest,
  named: ShardRecord | null,
): Placement {
  if (named === null) {
    if (plan.isUndeclared === true) throw new FleetError('table_not_declared', plan.reason)
    throw new FleetError('shard_key_required', plan.reason, { hint: 'send shard_key with the statement' })
  }
  if (plan.home !== null) placeHome(plan.home, map, named)
  refuseLeftovers(named)
  return placeKeyed(plan.keys, map, request, named)
}

/**
 * The shard that a caller names before there is a statement.
 * @throws FleetError as `placeStatement`; `shard_key_required` when several could be meant
 */
export function placeCall(named: Pick<PlacementRequest, 'shardKey' | 'shardId'>, map: ShardMap): ShardRecord {
  const only = map.owners.length === 1 ? map.owners[0] : undefined
  const target = targetIn({ hint: noTarget }, { ...named, params: [] })
  const shard = placeNamed(target, { kind: 'any' }, map) ?? only
  if (shard !== undefined) return shard
  if (map.owners.length === 0) throw noShard(map)
  throw new FleetError('shard_key_required', 'the keyspace has several shards', {
    hint: 'send shard_key, or options.shard_id',
  })
}

/** True when the caller, a hint or the session says where the call goes. */
export const isNamed = (known: Pick<KnownStatement, 'hint'>, request: PlacementRequest): boolean =>
  targetIn(known, request).kind !== 'none'

type Target = RouteTarget | { readonly kind: 'key'; readonly key: string | number }

function targetIn({ hint }: Pick<KnownStatement, 'hint'>, request: PlacementRequest): Target {
  if (hint.kind !== 'none') return hint
  if (request.target !== undefined && request.target.kind !== 'none') return request.target
  if (request.shardId !== undefined) {
    if (request.shardKey === undefined) return { kind: 'shard', shard: request.shardId }
    throw new FleetError(
      'invalid_request',
      'the shard is named twice, by shard_key and by options.shard_id',
      {
        hint: 'send one of them',
      },
    )
  }
  return request.shardKey === undefined ? { kind: 'none' } : { kind: 'key', key: request.shardKey }
}

/**
 * For what would see all rows of the shard.
 * @throws FleetError `shard_not_serving` while some of them belong to others
 */
export function refuseLeftovers({ name, leftovers }: ShardRecord): void {
  if (leftovers === undefined) return
  throw new FleetError(
    'shard_not_serving',
    `a part of shard ${name} has moved away, and its rows are being removed there`,
    {
      hint: `name the keys in the statement itself (WHERE key = …), or try again when the job ${leftovers.job} has ended`,
      facts: { job_id: leftovers.job },
    },
  )
}

const one = (shard: ShardRecord): Placement => ({ kind: 'one', shard })

function placeNamed(target: Target, plan: Plan, map: ShardMap): ShardRecord | null {
  switch (target.kind) {
    case 'none':
      return null
    case 'key': {
      const type = typeOfNamed(plan, map)
      if (type === null && map.owners.length > 1)
        return ownerOfUntyped(map, (each) => slotKey(target.key, each))
      const key = slotKey(target.key, type ?? 'text')
      return map.owners.length === 0 ? null : map.shardFor(key, type ?? 'text')
    }
    case 'shard':
      return shardNamed(target.shard, map)
    default:
      return assertNever(target)
  }
}

/** Null where tables of different types could be meant. */
function typeOfNamed(plan: Plan, map: ShardMap): KeyType | null {
  const ofPlan = plan.kind === 'unkeyed' ? plan.keyType : keysOf(plan)[0]?.table.keyType
  return ofPlan ?? map.keyType
}

function shardNamed(name: string, map: ShardMap): ShardRecord {
  for (const shard of map.shards.values()) if (shard.id === name || shard.name === name) return shard
  throw new FleetError(
    'not_found',
    `keyspace ${map.snapshot.keyspace.name} has no shard ${JSON.stringify(name)}`,
    {
      hint: 'fleetshard shard list shows the shards',
    },
  )
}

/** The keys that a statement shows. */
export function keysOf(plan: Plan): readonly Keys[] {
  return plan.kind === 'keyed' || plan.kind === 'unkeyed' ? plan.keys : []
}

/** A parameter that decides the shard, with the type by which its value was read; `list` for an array of keys. */
export interface KeyParameter {
  readonly index: number
  readonly type: KeyType
  readonly list: boolean
}

/** Asked at every run, so kept with the plan. */
const keyParameters = new WeakMap<Plan, readonly KeyParameter[]>()

/** The parameters that decide the shard: the statement must read them by the same type. */
export function keyParametersOf(plan: Plan): readonly KeyParameter[] {
  let kept = keyParameters.get(plan)
  if (kept === undefined) {
    kept = keysOf(plan).flatMap(({ slots, table }) =>
      slots.flatMap((slot) =>
        slot.kind === 'parameter'
          ? [{ index: slot.index, type: table.keyType ?? 'text', list: slot.list }]
          : [],
      ),
    )
    keyParameters.set(plan, kept)
  }
  return kept
}

function placeKeyed(
  keys: readonly Keys[],
  map: ShardMap,
  values: Values,
  named: ShardRecord | null,
): Placement {
  let first: ShardRecord | null = null
  let owners: Set<ShardRecord> | null = null
  for (const { table, slots } of keys) {
    const type = table.keyType ?? 'text'
    for (const slot of slots) {
      for (const key of keysOfSlot(slot, values, type)) {
        const owner = map.shardFor(key, type)
        first ??= owner
        if (owner !== first) (owners ??= new Set([first])).add(owner)
      }
    }
  }
  if (first === null) return one(named ?? anyOwner(map))
  if (named !== null && first !== named) throw crossShard(named, first, true)
  if (owners === null) return one(first)
  const [, second = first] = owners
  if (named !== null) throw crossShard(named, second, true)
  return { kind: 'several', shards: [...owners], error: crossShard(first, second, false) }
}

function placeHome(table: TableRecord, map: ShardMap, named: ShardRecord | null): ShardRecord {
  const home = table.homeShard === null ? undefined : map.shards.get(table.homeShard)
  if (home === undefined) throw noShard(map)
  if (named !== null && named !== home) throw crossShard(named, home, true)
  return home
}

function anyOwner(map: ShardMap): ShardRecord {
  const owner = map.owners[0]
  if (owner === undefined) throw noShard(map)
  return owner
}

function noShard(map: ShardMap): FleetError {
  return new FleetError('no_shard', `keyspace ${map.snapshot.keyspace.name} has no active shard`, {
    hint: 'create one: fleetshard shard create',
  })
}

function crossShard(first: ShardRecord, second: ShardRecord, byName: boolean): FleetError {
  const which = `${first.name} and ${second.name}`
  return byName
    ? new FleetError(
        'cross_shard',
        `the shard that is named and a key in the statement lie apart: ${which}`,
        { hint: 'name the key of the rows, or leave shard_key and the hint out' },
      )
    : new FleetError('cross_shard', `the keys of the statement lie on several shards: ${which}`, {
        hint: 'send one statement for each key; GET /v1/shard-for-key tells which keys share a shard',
      })
}
