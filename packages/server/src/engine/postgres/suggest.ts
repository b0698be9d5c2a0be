// Suggestions for tables that were found in a database: what to shard by which column, what to copy everywhere, what
// to leave on one shard. Pure; heuristics, so that each suggestion carries its reason and a person decides.
//
// The idea: the best shard key is the one that ties the most data together. Columns of several tables that mean the
// same thing (tied by a foreign key, or by having the same name) make one candidate; the candidate that covers the
// most bytes wins. What it doesn't cover is small and referred to (reference), has a key of its own, or is global.
import { isFleetError } from '@fleetshard/core'
import type { ColumnFacts, TableDeclaration, TableFacts, TableSuggestion } from '../schema-facts.ts'
import { checkDeclaration } from './rules.ts'

/** A referenced table up to this size is better copied to every shard. */
const referenceRowsMax = 10_000
/** Weight of a table without statistics, in bytes. */
const unknownWeightBytes = 64 * 1024
/** How much more a candidate counts when its name says whose the rows are. */
const ownerBonus = 8

const OWNER =
  /(^|_)(tenant|org|organi[sz]ation|account|customer|user|member|workspace|company|shop|store|merchant|client|team|device)(_?(id|uuid|key|no|number|name|handle))?$/
const LOOKUP =
  /(^|_)(country|currency|status|state|type|kind|category|lang|language|locale|role|unit|region|code)(_?(id|code|key))?$/
const KEY_TYPES = new Set(['text', 'varchar', 'int2', 'int4', 'int8', 'uuid', 'bytea'])

/** Columns that mean the same thing: table → its column. */
interface Candidate {
  readonly name: string
  readonly columns: Map<string, string>
}

/** See the port. */
export function suggestTables(tables: readonly TableFacts[]): readonly TableSuggestion[] {
  const roots = tables.filter(
    (table) => table.parent === null && table.kind !== 'foreign' && table.kind !== 'partition',
  )
  const best = bestCandidate(roots)
  const drafts = roots.map((table) => draft(table, roots, best))
  const declared = drafts.map(({ declaration }) => declaration)
  return drafts.map(({ declaration, reason }, index) => {
    const table = roots[index]
    return {
      table: declaration.name,
      kind: declaration.kind,
      keyColumn: declaration.keyColumn,
      reason,
      ...(table === undefined ? { keyType: null, obstacle: null } : verdict(table, declaration, declared)),
    }
  })
}

interface Draft {
  readonly declaration: TableDeclaration
  readonly reason: string
}

function verdict(
  table: TableFacts,
  declaration: TableDeclaration,
  declared: readonly TableDeclaration[],
): Pick<TableSuggestion, 'keyType' | 'obstacle'> {
  try {
    return { keyType: checkDeclaration(table, declaration, declared).keyType, obstacle: null }
  } catch (error) {
    if (!isFleetError(error, 'schema_refused')) throw error
    return { keyType: null, obstacle: `${error.message}. ${error.hint ?? ''}`.trim() }
  }
}

function draft(table: TableFacts, tables: readonly TableFacts[], best: Candidate | null): Draft {
  const covering = best?.columns.get(table.name)
  if (best !== null && covering !== undefined) {
    return sharded(table, covering, coveredReason(table, covering, best))
  }
  const referrers = tables.filter(
    (other) => other !== table && other.foreignKeys.some((key) => key.references === table.name),
  )
  if (referrers.length > 0 && isSmall(table)) {
    const names = list(referrers.map((other) => other.name))
    return {
      declaration: { name: table.name, kind: 'reference', keyColumn: null },
      reason: `${sizeOf(table)}, and ${names} ${referrers.length === 1 ? 'refers' : 'refer'} to it: a copy on every shard keeps joins local.`,
    }
  }
  const own = ownKey(table)
  if (own !== null && (best === null || !isSmall(table))) {
    return sharded(table, own.column, own.reason)
  }
  return {
    declaration: { name: table.name, kind: 'global', keyColumn: null },
    reason:
      best === null
        ? 'It has no column that could be a shard key, so all its rows stay on one shard.'
        : `It has no column that ties it to ${best.name}, and is ${sizeOf(table)}: all its rows stay on one shard.`,
  }
}

function sharded(table: TableFacts, column: string, reason: string): Draft {
  return { declaration: { name: table.name, kind: 'sharded', keyColumn: column }, reason }
}

function coveredReason(table: TableFacts, column: string, best: Candidate): string {
  const others = [...best.columns.keys()].filter((name) => name !== table.name)
  if (others.length === 0) return ownKey(table)?.reason ?? `${column} says whose the rows are.`
  return `${column} ties it to ${list(others)}: rows of one ${best.name} stay together on one shard.`
}

/** The candidate that ties the most data together, or null when no table has a fitting column. */
function bestCandidate(tables: readonly TableFacts[]): Candidate | null {
  const weights = new Map(tables.map((table) => [table.name, weightOf(table)]))
  let best: Candidate | null = null
  let bestScore = 0
  for (const candidate of candidates(tables)) {
    const weight = [...candidate.columns.keys()].reduce((sum, name) => sum + (weights.get(name) ?? 0), 0)
    // More tables tied together count, too: with no statistics at all the number of tables decides.
    const score = weight * candidate.columns.size * (OWNER.test(candidate.name) ? ownerBonus : 1)
    if (score > bestScore) {
      best = candidate
      bestScore = score
    }
  }
  return best
}

function candidates(tables: readonly TableFacts[]): readonly Candidate[] {
  const byName = new Map<string, Candidate>()
  for (const table of tables) {
    for (const column of table.columns.filter((found) => isKeyLike(table, found))) {
      const candidate = byName.get(column.name) ?? { name: column.name, columns: new Map<string, string>() }
      candidate.columns.set(table.name, column.name)
      byName.set(column.name, candidate)
    }
  }
  for (const table of tables) addReferenced(byName, table, tables)
  return [...byName.values()]
}

/** A table that is referred to joins the candidate of the referring column (users.id joins user_id). */
function addReferenced(
  candidates: ReadonlyMap<string, Candidate>,
  table: TableFacts,
  tables: readonly TableFacts[],
): void {
  for (const key of table.foreignKeys) {
    const [column, ...more] = key.columns
    const [referenced] = key.referencedColumns
    if (column === undefined || referenced === undefined || more.length > 0) continue
    const candidate = candidates.get(column)
    const target = tables.find(({ name }) => name === key.references)
    if (candidate?.columns.has(table.name) !== true || target === undefined) continue
    if (isDimension(target, table) || candidate.columns.has(target.name)) continue
    candidate.columns.set(target.name, referenced)
  }
}

/**
 * A column that is unique, a foreign key, or is named as an owner: a plain text column is no candidate. `id` means
 * something else in each table, and a lookup code would put most rows on one shard.
 */
function isKeyLike(table: TableFacts, column: ColumnFacts): boolean {
  if (!mayBeKey(column) || column.name === 'id' || LOOKUP.test(column.name)) return false
  return (
    OWNER.test(column.name) ||
    table.foreignKeys.some((key) => key.columns.length === 1 && key.columns[0] === column.name) ||
    table.uniques.some((unique) => unique.columns.length === 1 && unique.columns[0] === column.name)
  )
}

function mayBeKey(column: ColumnFacts): boolean {
  return KEY_TYPES.has(column.baseType) && !column.generated && column.collation?.deterministic !== false
}

/** A key of the table's own: a unique column that clients give, rather than one that a sequence gives. */
function ownKey(table: TableFacts): { readonly column: string; readonly reason: string } | null {
  const usable = (name: string | null | undefined): ColumnFacts | undefined =>
    table.columns.find((column) => column.name === name && mayBeKey(column))
  const single = table.uniques.filter((unique) => unique.columns.length === 1 && !unique.partial)
  for (const unique of single) {
    const column = usable(unique.columns[0])
    if (column?.sequence === null && column.notNull) {
      return {
        column: column.name,
        reason: `${column.name} is unique and never NULL: rows spread evenly by it.`,
      }
    }
  }
  const primary = table.uniques.find((unique) => unique.kind === 'primary')
  const column = usable(primary?.columns[0])
  if (column === undefined) return null
  const part = primary?.columns.length === 1 ? 'the primary key' : 'the first column of the primary key'
  return { column: column.name, reason: `${column.name} is ${part}: rows spread evenly by it.` }
}

function isSmall(table: TableFacts): boolean {
  return table.rowsEstimate === null || table.rowsEstimate <= referenceRowsMax
}

/** A small table that a far larger one refers to describes values; it doesn't own rows. */
function isDimension(target: TableFacts, referrer: TableFacts): boolean {
  if (target.rowsEstimate === null || referrer.rowsEstimate === null) return false
  return target.rowsEstimate <= 1_000 && referrer.rowsEstimate >= 100 * Math.max(1, target.rowsEstimate)
}

function weightOf(table: TableFacts): number {
  return Math.max(table.bytes, unknownWeightBytes)
}

function sizeOf(table: TableFacts): string {
  if (table.rowsEstimate === null) return 'of unknown size'
  return `small (about ${String(Math.round(table.rowsEstimate))} rows)`
}

function list(names: readonly string[]): string {
  if (names.length <= 3) return names.join(' and ')
  return `${names.slice(0, 3).join(', ')} and ${String(names.length - 3)} more`
}
