// The plan of a statement in a keyspace: which shards it concerns and why. Made once for a statement and a set of
// declared tables, then put together with the parameters of each call.
import type { KeyType, ShardMap, TableRecord } from '@fleetshard/core'
import type { KnownStatement } from './cache.ts'
import type { ColumnName, Refusal, Slot, StatementFacts, TableUse } from './facts.ts'
import { tableNamesOf, type TableNames } from './table-names.ts'

/**
 * `keyed`: all its rows have these keys. `any`: every shard gives the same answer
 * (unless it calls a function of the user's, which may read anything: the executor looks). `home`: a global table.
 * `unkeyed`: concerns sharded data, and only the caller can say which shard; the keys that it does show must lie there. `refused`: no shard may run it.
 */
export type Plan =
  | { readonly kind: 'keyed'; readonly keys: readonly Keys[] }
  | { readonly kind: 'any' }
  | { readonly kind: 'home'; readonly table: TableRecord }
  | ({ readonly kind: 'unkeyed'; readonly reason: string } & Unkeyed)
  | { readonly kind: 'refused'; readonly reason: string; readonly hint: string }

/** Where the keys of a table's rows stand in a statement. */
export interface Keys {
  readonly table: TableRecord
  readonly slots: readonly Slot[]
  /** True for the keys of new rows. */
  readonly inserted: boolean
}

/** What is known of a statement whose shard only the caller can name. */
interface Unkeyed {
  readonly keys: readonly Keys[]
  /** By which a named key is read: that of the sharded tables, null when there is none or they differ. */
  readonly keyType: KeyType | null
  /** A global table that is used too: no other shard has it. */
  readonly home: TableRecord | null
}

const plans = new WeakMap<KnownStatement, { readonly tables: ShardMap['tables']; readonly plan: Plan }>()

/** The plan for the keyspace's tables as they are; made at first sight. */
export function planOf(known: KnownStatement, map: ShardMap): Plan {
  const kept = plans.get(known)
  if (kept?.tables === map.tables) return kept.plan
  const plan = makePlan(known.facts, tableNamesOf(map))
  plans.set(known, { tables: map.tables, plan })
  return plan
}

/** Makes the plan of a statement from its facts and the declared tables. */
export function makePlan(facts: StatementFacts, names: TableNames): Plan {
  if (facts.kind === 'ddl') {
    return {
      kind: 'refused',
      reason: 'a change of the schema must reach every shard',
      hint: 'use fleetshard table create -f schema.sql',
    }
  }
  const uses = facts.tables.map((use) => ({ use, table: names.find(use) }))
  for (const { use, table } of uses) {
    const refusal = use.written ? refusedWrite(facts, names, { use, table }) : null
    if (refusal !== null) return { kind: 'refused', ...refusal }
  }
  const sharded = uses.filter(isSharded)
  const globals = uses.filter(({ table }) => table?.kind === 'global')
  const foreign = uses.find(({ table }) => table === null)
  if (globals.length > 0) return planGlobal(globals, foreign === undefined && sharded.length === 0, sharded)
  return planRows(facts, sharded, foreign)
}

/** The plan of a statement without global tables. */
function planRows(facts: StatementFacts, sharded: readonly ShardedUse[], foreign: Use | undefined): Plan {
  const target = facts.insert === null ? undefined : sharded.find(({ use }) => use.written)
  const inserts = target === undefined ? null : insertedKeys(facts, target, sharded)
  if (inserts !== null && 'kind' in inserts) return inserts
  const unkeyed = (reason: string): Plan => ({
    kind: 'unkeyed',
    reason,
    keys: inserts === null ? [] : [inserts],
    keyType: commonType(sharded),
    home: null,
  })
  if (facts.kind === 'opaque') return unkeyed('the statement runs code that the router cannot see')
  if (foreign !== undefined) return unkeyed(`the table ${foreign.use.name} is not declared in the keyspace`)
  const only = sharded[0]
  if (only === undefined) return { kind: 'any' }
  if (sharded.length > 1) return unkeyed('the statement uses several sharded tables')
  const keys = inserts ?? tiedKeys(facts, only)
  return keys === null ? unkeyed(noKey(only)) : { kind: 'keyed', keys: [keys] }
}

interface Use {
  readonly use: TableUse
  readonly table: TableRecord | null
}

interface ShardedUse {
  readonly use: TableUse
  readonly table: TableRecord & { readonly keyColumn: string; readonly keyType: KeyType }
}

const isSharded = (used: Use): used is ShardedUse =>
  used.table?.kind === 'sharded' && used.table.keyColumn !== null && used.table.keyType !== null

const noKey = ({ use, table }: ShardedUse): string =>
  `the statement does not say which ${table.keyColumn} of ${use.name} it is about`

/** The key type of all these tables, null when they differ. */
function commonType(sharded: readonly ShardedUse[]): KeyType | null {
  const types = new Set(sharded.map(({ table }) => table.keyType))
  const [only] = types
  return types.size === 1 && only !== undefined ? only : null
}

/** Only the home of a global table has its rows, whatever else is used. */
function planGlobal(globals: readonly Use[], alone: boolean, sharded: readonly ShardedUse[]): Plan {
  const [first] = globals
  const home = first?.table ?? null
  if (first === undefined || home === null) return { kind: 'any' }
  if (globals.some(({ table }) => table?.homeShard !== home.homeShard)) {
    return {
      kind: 'refused',
      reason: 'the statement uses global tables of different shards',
      hint: 'send one statement for each table',
    }
  }
  if (alone) return { kind: 'home', table: home }
  if ([...globals, ...sharded].some(({ use }) => use.written)) {
    return {
      kind: 'refused',
      reason: `the global table ${first.use.name} is used together with others in a write`,
      hint: 'read first, and write with the values that were read',
    }
  }
  const reason = `the global table ${first.use.name} is used together with others`
  return { kind: 'unkeyed', reason, keys: [], keyType: commonType(sharded), home }
}

/** Writes that could leave a row where it does not belong, or only in one of the places where it must be. */
function refusedWrite(facts: StatementFacts, names: TableNames, { use, table }: Use): Refusal | null {
  if (table === null) {
    return names.isAmbiguous(use)
      ? { reason: `several tables are named ${use.name}`, hint: 'put the schema in front of the name' }
      : null
  }
  if (table.kind === 'reference') {
    return {
      reason: `a write to the reference table ${use.name} must reach every shard`,
      hint: 'write reference tables while the keyspace has one shard',
    }
  }
  if (table.kind === 'global') return null
  if (!use.outermost) {
    return {
      reason: `the keys of the rows that MERGE or a WITH query writes to ${use.name} cannot be seen`,
      hint: 'write with a plain INSERT (ON CONFLICT), UPDATE or DELETE',
    }
  }
  if (!facts.assigned.includes(table.keyColumn ?? '')) return null
  return {
    reason: `the statement sets the shard key ${table.keyColumn ?? ''} of ${use.name}, which may move the row to another shard`,
    hint: 'delete the row under its old key and insert it under the new one',
  }
}

function tiedKeys(facts: StatementFacts, { use, table }: ShardedUse): Keys | null {
  const tied = facts.equalities.find(
    (equality) =>
      names(equality, use, table) && equality.slots.every((slot) => keepsKey(slot, table.keyType)),
  )
  if (!use.outermost || tied === undefined) return null
  return { table, slots: tied.slots, inserted: false }
}

/** True when that is the key column of the table, as the statement calls it. */
const names = (column: ColumnName, use: TableUse, table: ShardedUse['table']): boolean =>
  column.column === table.keyColumn && (column.qualifier === null || column.qualifier === use.alias)

/** Casts that leave a value of a key type as it is. Under another one, a column may get a text that is not ours. */
const KEEPING: Readonly<Record<KeyType, readonly string[]>> = {
  text: ['text', 'varchar'],
  int2: ['int2', 'int4', 'int8'],
  int4: ['int2', 'int4', 'int8'],
  int8: ['int2', 'int4', 'int8'],
  uuid: ['uuid'],
  bytea: ['bytea'],
}

const keepsKey = (slot: Slot, type: KeyType): boolean =>
  slot.kind === 'null' || slot.cast === null || KEEPING[type].includes(slot.cast)

type InsertedKeys = Keys | Extract<Plan, { kind: 'refused' }>

function insertedKeys(
  { insert }: StatementFacts,
  { use, table }: ShardedUse,
  sharded: readonly ShardedUse[],
): InsertedKeys {
  const hint = `write INSERT INTO ${use.name} (${table.keyColumn}, …) VALUES ($1, …)`
  const refused = (reason: string): InsertedKeys => ({ kind: 'refused', reason, hint })
  if (insert === null || insert.columns === null)
    return refused(`the INSERT into ${use.name} does not name its columns`)
  if (insert.overridden) return refused('OVERRIDING USER VALUE may replace the shard key that is given')
  const position = insert.columns.indexOf(table.keyColumn)
  if (position < 0) return refused(`the INSERT gives no value for the shard key ${table.keyColumn}`)
  const sources = sharded.filter((source) => !source.use.written)
  const slots: Slot[] = []
  for (const row of insert.rows ?? [[]]) {
    const slot = row[position] ?? null
    if (slot === null || !keepsKey(slot, table.keyType) || !isSameKey(slot, table, sources))
      return refused(`the shard key of a new row must be a parameter or a literal of type ${table.keyType}`)
    slots.push(slot)
  }
  return { table, slots, inserted: true }
}

/**
 * A column that is equal to a slot has the same text only when it is the key of a table as well: of other columns
 * the type is not known here, and equal values may differ in their text.
 */
function isSameKey(slot: Slot, table: ShardedUse['table'], sources: readonly ShardedUse[]): boolean {
  const { through } = slot
  if (through === undefined) return true
  return sources.some(
    (source) =>
      source.use.outermost &&
      source.table.keyType === table.keyType &&
      names(through, source.use, source.table),
  )
}
