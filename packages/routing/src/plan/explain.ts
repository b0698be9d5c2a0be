// Tells the plan of a statement, its reason, and what would make it concern one shard: for EXPLAIN (ROUTE), POST
// /v1/route and `fleetshard route`.
import { ERRORS, FleetError, type ShardMap, type ShardRecord } from '@fleetshard/core'
import type { KnownStatement } from './cache.ts'
import type { Slot } from './facts.ts'
import { isNamed, keyParametersOf, keysOf, placementOf, type PlacementRequest } from './placement.ts'
import { planOf, type Plan } from './plan.ts'

/** One key that a statement shows. */
export interface ExplainedKey {
  readonly table: string
  readonly column: string
  /** As the statement has it: `$1`, `'a'`, `42`. */
  readonly values: readonly string[]
  /** True for a key of new rows. */
  readonly inserted: boolean
}

/** How a statement would be routed. */
export interface RouteExplanation {
  /**
   * `single`: one shard. `any`: all shards give the same answer. `home`: the shard of a global table. `several`: its
   * keys lie apart. `unkeyed`: only the caller can say where. `session`: it concerns a session, not rows. `refused`.
   */
  readonly plan: 'single' | 'any' | 'home' | 'several' | 'unkeyed' | 'session' | 'refused'
  /** Empty where the values that decide are not given, or nothing may run it. */
  readonly shards: readonly ShardRecord[]
  readonly reason: string
  /** What would make it concern one shard; null when it does. */
  readonly fix: string | null
  readonly keys: readonly ExplainedKey[]
}

/** Explains a statement; an EXPLAIN (ROUTE) as the statement inside. @throws FleetError `no_shard`, `not_found` */
export function explainRoute(
  known: KnownStatement,
  map: ShardMap,
  request: PlacementRequest,
): RouteExplanation {
  const plan = planOf(known, map)
  const keys = keysOf(plan).map(({ table, slots, inserted }) => ({
    table: table.name,
    column: table.keyColumn ?? '',
    values: slots.map(shown),
    inserted,
  }))
  const { refusal, query, command } = known.facts
  const nothing = { shards: [], keys }
  if (refusal !== null && query === null && command.kind !== 'explain') {
    return { plan: 'session', ...nothing, reason: refusal.reason, fix: refusal.hint }
  }
  if (plan.kind === 'refused' && map.owners.length > 1) {
    return { plan: 'refused', ...nothing, reason: plan.reason, fix: plan.hint }
  }
  const open = keyParametersOf(plan).find(({ index }) => index >= request.params.length)
  if (open !== undefined && plan.kind === 'keyed') {
    return {
      plan: 'single',
      ...nothing,
      reason: `the shard is that of $${String(open.index + 1)}`,
      fix: null,
    }
  }
  if (plan.kind === 'unkeyed' && !isNamed(known, request) && map.owners.length > 1) {
    return { plan: 'unkeyed', ...nothing, reason: plan.reason, fix: fixOf(plan) }
  }
  return { ...placed(known, map, { plan, request }), keys }
}

function placed(
  known: KnownStatement,
  map: ShardMap,
  { plan, request }: { plan: Plan; request: PlacementRequest },
): Omit<RouteExplanation, 'keys'> {
  try {
    const placement = placementOf(known, map, request)
    if (placement.kind === 'several') {
      const { error, shards } = placement
      return { plan: 'several', shards, reason: error.message, fix: error.hint ?? null }
    }
    const kind = plan.kind === 'any' || plan.kind === 'home' ? plan.kind : 'single'
    return {
      plan: kind,
      shards: [placement.shard],
      reason: reasonOf(plan, isNamed(known, request), map),
      fix: null,
    }
  } catch (error) {
    if (!(error instanceof FleetError) || error.code === 'no_shard' || error.code === 'not_found') throw error
    return { plan: 'refused', shards: [], reason: error.message, fix: error.hint ?? null }
  }
}

function reasonOf(plan: Plan, named: boolean, map: ShardMap): string {
  if (map.owners.length === 1) return 'the keyspace has one shard'
  if (plan.kind === 'keyed') {
    const columns = new Set(plan.keys.map(({ table }) => `${table.name}.${table.keyColumn ?? ''}`))
    return `every row it concerns has a key that the statement shows: ${[...columns].join(', ')}`
  }
  if (named) return 'the caller, a hint or the session names the shard'
  if (plan.kind === 'meeting') return `all sessions meet by ${plan.what} on the first shard`
  return plan.kind === 'home' ? `${plan.table.name} lives on one shard` : 'it concerns no sharded table'
}

function fixOf(plan: Extract<Plan, { kind: 'unkeyed' }>): string {
  const way = "send shard_key with it, or write the hint /* fleetshard: shard_key='…' */"
  if (plan.isUndeclared === true) return `${ERRORS.table_not_declared.remedy} Or ${way}`
  return plan.keyType === null
    ? way
    : `compare the shard key of each table with = to a value or to another key, or ${way}`
}

function shown(slot: Slot): string {
  switch (slot.kind) {
    case 'parameter':
      return `$${String(slot.index + 1)}`
    case 'null':
      return 'NULL'
    default:
      return slot.quoted ? `'${slot.text.replaceAll("'", "''")}'` : slot.text
  }
}

/** The explanation as lines of one text column, as EXPLAIN gives its own. */
export function routeLines({ plan, shards, reason, fix, keys }: RouteExplanation): string[] {
  const names = shards.map(({ id, name }) => (name === id ? id : `${name} (${id})`))
  return [
    `Route: ${plan}${names.length === 0 ? '' : ` on ${names.join(', ')}`}`,
    `  Reason: ${reason}`,
    ...keys.map(({ table, column, values, inserted }) => {
      const list = values.length > valuesShownMax ? [...values.slice(0, valuesShownMax), '…'] : values
      return `  ${inserted ? 'New key' : 'Key'}: ${table}.${column} = ${list.join(' or ')}`
    }),
    ...(fix === null ? [] : [`  To run on one shard: ${fix}`]),
  ]
}

/** Values of one key that are told. */
const valuesShownMax = 5
