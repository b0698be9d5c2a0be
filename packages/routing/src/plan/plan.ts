// The plan of a statement in a keyspace: which shards it concerns and why. Made once for a statement and a set of
// declared tables, then put together with the parameters of each call.
import type { KeyType, ShardMap, TableRecord } from '@fleetshard/core'
import type { KnownStatement } from './cache.ts'
import type { NamedTable } from './command.ts'
import type { Refusal, Slot, StatementFacts, TableUse } from './facts.ts'
import { infer, type Inference, type InferredWrite, type InsertedKeys } from './infer/infer.ts'
import { meetingIn } from './meeting-place.ts'
import { tableNamesOf, type TableNames } from './table-names.ts'

/**
 * `keyed`: all its rows have these keys. `any`: every shard gives the same answer
 * (unless it calls a function of the user's, which may read anything: the executor looks). `home`: a global table.
 * `meeting`: no rows, but what all sessions share, which the first shard has.
 * `unkeyed`: concerns sharded data, and only the caller can say which shard; the keys that it does show must lie there. `refused`: no shard may run it.
 */
export type Plan =
  | ({ readonly kind: 'keyed'; readonly keys: readonly Keys[] } & Meets)
  | { readonly kind: 'any' }
  | ({ readonly kind: 'home'; readonly table: TableRecord } & Meets)
  | { readonly kind: 'meeting'; readonly what: string }
  | ({ readonly kind: 'unkeyed'; readonly reason: string } & Unkeyed)
  | { readonly kind: 'refused'; readonly reason: string; readonly hint: string }

/** A statement about rows may ask for what all sessions share as well: then both must lie on the first shard. */
interface Meets {
  /** The name of what it asks for; null for nothing. */
  readonly meets: string | null
}

/** Where the keys of a table's rows stand in a statement. */
export interface Keys {
  readonly table: TableRecord
  readonly slots: readonly Slot[]
  /** True for the keys of new rows. */
  readonly inserted: boolean
}

/** What is known of a statement whose shard only the caller can name. */
interface Unkeyed {
  /** The keys that it does show. */
  readonly keys: readonly Keys[]
  /** By which a named key is read: that of the sharded tables, null when there is none or they differ. */
  readonly keyType: KeyType | null
  /** A global table that is used too: no other shard has it. */
  readonly home: TableRecord | null
  /** It uses a table that the keyspace does not know. */
  readonly isUndeclared?: boolean
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
  const uses = facts.tables.map((use, place): Use => ({ use, place, table: names.find(use) }))
  for (const used of uses) {
    const refusal = used.use.written ? refusedWrite(names, used) : null
    if (refusal !== null) return { kind: 'refused', ...refusal }
  }
  const sharded = uses.filter(isSharded)
  const globals = uses.filter(({ table }) => table?.kind === 'global')
  const foreign = uses.find(({ table }) => table === null)
  if (globals.length > 0) {
    return planGlobal(globals, {
      alone: foreign === undefined && sharded.length === 0 && lockedReference(uses) === undefined,
      sharded,
      meets: meetingIn(facts, true),
    })
  }
  return planRows(facts, { uses, sharded, foreign, names })
}

/** The tables of a statement. */
interface Uses {
  readonly uses: readonly Use[]
  readonly sharded: readonly ShardedUse[]
  readonly foreign: Use | undefined
  readonly names: TableNames
}

/** The plan of a statement without global tables. */
function planRows(facts: StatementFacts, { uses, sharded, foreign, names }: Uses): Plan {
  const byPlace = new Map(sharded.map((used) => [used.place, used]))
  const inference = infer(facts.query, (place) => keyOf(byPlace.get(place)?.table))
  // TRUNCATE, LOCK and the like concern the table of the shard that is named, as a whole.
  const isWhole = facts.query === null && facts.command.kind !== 'copy'
  const written = writtenKeys(inference, byPlace, { sharded, isWhole })
  if ('kind' in written) return written
  const read = sharded.filter((used) => !written.inserted.has(used.place))
  const keys = [...written.keys, ...read.flatMap((used) => keysRead(inference, used) ?? [])]
  const unkeyed = (reason: string): Extract<Plan, { kind: 'unkeyed' }> => ({
    kind: 'unkeyed',
    reason,
    keys,
    keyType: commonType(sharded),
    home: null,
  })
  if (facts.kind === 'opaque') return unkeyed('the statement runs code that the router cannot see')
  const open = read.find((used) => keysRead(inference, used) === null)
  if (open !== undefined) return unkeyed(noKey(open, sharded))
  if (foreign !== undefined)
    return { ...unkeyed(foreignTable(foreign, names)), isUndeclared: isUndeclared(foreign, names) }
  const locked = lockedReference(uses)
  if (locked !== undefined) return unkeyed(locksApart(locked))
  const meets = meetingIn(facts, sharded.length > 0)
  if (sharded.length > 0) return { kind: 'keyed', keys, meets }
  return meets === null ? { kind: 'any' } : { kind: 'meeting', what: meets }
}

const lockedReference = (uses: readonly Use[]): Use | undefined =>
  uses.find(({ use, table }) => use.locked && table?.kind === 'reference')

/** Its rows are on every shard, and a lock is where it is taken. */
const locksApart = ({ use }: Use): string =>
  `a lock of the reference table ${use.name} would be seen on one shard only (pg_advisory_xact_lock is seen by all)`

const foreignTable = ({ use }: Use, names: TableNames): string =>
  names.isAmbiguous(use)
    ? `several tables are named ${use.name}: put the schema in front of the name`
    : undeclaredTable(use)

/** A table of the system is on every shard, with other rows on each. */
const isUndeclared = ({ use }: Use, names: TableNames): boolean =>
  !names.isAmbiguous(use) && !isSystemName(use)

/** True for a name that is looked up in the schemas of the system, unless there is a declared table of that name. */
export const isSystemName = ({ schema, name }: NamedTable): boolean =>
  schema === 'pg_catalog' || schema === 'information_schema' || (schema === null && name.startsWith('pg_'))

interface Use {
  readonly use: TableUse
  /** Its place among the tables of the facts. */
  readonly place: number
  readonly table: TableRecord | null
}

interface ShardedUse extends Use {
  readonly table: TableRecord & { readonly keyColumn: string; readonly keyType: KeyType }
}

const isSharded = (used: Use): used is ShardedUse =>
  used.table?.kind === 'sharded' && used.table.keyColumn !== null && used.table.keyType !== null

const keyOf = (table: ShardedUse['table'] | undefined): { column: string; type: KeyType } | null =>
  table === undefined ? null : { column: table.keyColumn, type: table.keyType }

function noKey({ use, table }: ShardedUse, sharded: readonly ShardedUse[]): string {
  const reason = `the statement does not say which ${table.keyColumn} of ${use.name} it is about`
  return sharded.length === 1 ? reason : `${reason}: no equality ties it to a key`
}

/** The keys at every place where a table is read; null when one place does not say. */
function keysRead(inference: Inference, { place, table }: ShardedUse): Keys[] | null {
  return inference.keysAt(place)?.map((slots) => ({ table, slots, inserted: false })) ?? null
}

/** The keys of new rows, and the places of the tables that get them and are not read. */
interface WrittenKeys {
  readonly keys: readonly Keys[]
  readonly inserted: ReadonlySet<number>
}

function writtenKeys(
  { writes }: Inference,
  byPlace: ReadonlyMap<number, ShardedUse>,
  { sharded, isWhole }: { sharded: readonly ShardedUse[]; isWhole: boolean },
): WrittenKeys | Extract<Plan, { kind: 'refused' }> {
  const keys: Keys[] = []
  const seen = new Map<number, InferredWrite>()
  for (const write of writes) {
    seen.set(write.target, write)
    const used = byPlace.get(write.target)
    if (used === undefined) continue
    const { table } = used
    if (write.assigned.includes(table.keyColumn)) return { kind: 'refused', ...movesRow(used) }
    for (const insert of write.inserts) {
      if (insert.kind === 'unseen') return { kind: 'refused', ...unseenKey(insert.why, used) }
      keys.push({ table, slots: insert.slots, inserted: true })
    }
  }
  const unseen = sharded.find(({ use, place }) => use.written && !isWhole && !seen.has(place))
  if (unseen !== undefined) return { kind: 'refused', ...unseenWrite(unseen) }
  const inserted = [...seen.values()].filter(({ action }) => action === 'insert')
  return { keys, inserted: new Set(inserted.map(({ target }) => target)) }
}

const movesRow = ({ use, table }: ShardedUse): Refusal => ({
  reason: `the statement sets the shard key ${table.keyColumn} of ${use.name}, which may move the row to another shard`,
  hint: 'delete the row under its old key and insert it under the new one',
})

const unseenWrite = ({ use }: ShardedUse): Refusal => ({
  reason: `the keys of the rows that are written to ${use.name} cannot be seen`,
  hint: 'write with INSERT, UPDATE, DELETE or MERGE',
})

function unseenKey(
  why: Extract<InsertedKeys, { kind: 'unseen' }>['why'],
  { use, table }: ShardedUse,
): Refusal {
  const reasons: Readonly<Record<typeof why, string>> = {
    columns: `the INSERT into ${use.name} does not name its columns`,
    overridden: 'OVERRIDING USER VALUE may replace the shard key that is given',
    missing: `the INSERT gives no value for the shard key ${table.keyColumn}`,
    value: `the shard key of a new row must be a parameter or a literal of type ${table.keyType}, or a key that equals one`,
  }
  return {
    reason: reasons[why],
    hint: `write INSERT INTO ${use.name} (${table.keyColumn}, …) VALUES ($1, …)`,
  }
}

/** What is wrong with a table that the keyspace does not know. */
export const undeclaredTable = ({ name }: { readonly name: string }): string =>
  `the table ${name} is not declared in the keyspace`

/** The key type of all these tables, null when they differ. */
function commonType(sharded: readonly ShardedUse[]): KeyType | null {
  const types = new Set(sharded.map(({ table }) => table.keyType))
  const [only] = types
  return types.size === 1 && only !== undefined ? only : null
}

/** Only the home of a global table has its rows, whatever else is used. */
function planGlobal(
  globals: readonly Use[],
  { alone, sharded, meets }: { alone: boolean; sharded: readonly ShardedUse[] } & Meets,
): Plan {
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
  if (alone) return { kind: 'home', table: home, meets }
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

/** Writes that could leave a row only in one of the places where it must be. */
function refusedWrite(names: TableNames, { use, table }: Use): Refusal | null {
  if (table === null) {
    return names.isAmbiguous(use)
      ? { reason: `several tables are named ${use.name}`, hint: 'put the schema in front of the name' }
      : null
  }
  if (table.kind !== 'reference') return null
  return {
    reason: `a write to the reference table ${use.name} must reach every shard`,
    hint: 'write reference tables while the keyspace has one shard',
  }
}
