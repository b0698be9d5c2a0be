// Are two shards' copies of a table alike? A statement must mean the same on every shard, so what decides its meaning
// is compared: columns in their order, unique keys, foreign keys, triggers. Sizes and names of constraints are not.
import type { ColumnFacts, TableFacts } from './schema-facts.ts'

const kindText: Readonly<Record<TableFacts['kind'], string>> = {
  table: 'a plain table',
  partitioned: 'partitioned',
  partition: 'a partition',
  foreign: 'a foreign table',
}

/**
 * The first difference that matters, for people: `column extra is only there on b`; null when the two are alike.
 * @param places what the two are called in the sentence, in the order of the tables
 */
export function shapeDifference(
  one: TableFacts,
  other: TableFacts,
  places: readonly [string, string],
): string | null {
  if (one.kind !== other.kind)
    return `it is ${kindText[one.kind]} on ${places[0]} and ${kindText[other.kind]} on ${places[1]}`
  if (one.unlogged !== other.unlogged) return `it is unlogged only on ${places[one.unlogged ? 0 : 1]}`
  return (
    columnDifference(one, other, places) ??
    onlyOn('key', [keysOf(one), keysOf(other)], places) ??
    onlyOn('foreign key', [foreignKeysOf(one), foreignKeysOf(other)], places) ??
    onlyOn('trigger', [triggersOf(one), triggersOf(other)], places) ??
    (one.hasRules === other.hasRules ? null : `it has rules only on ${places[one.hasRules ? 0 : 1]}`)
  )
}

function columnDifference(one: TableFacts, other: TableFacts, places: readonly [string, string]) {
  const names = [one.columns.map(({ name }) => name), other.columns.map(({ name }) => name)] as const
  const missing = onlyOn('column', names, places)
  if (missing !== null) return missing
  for (const [index, column] of one.columns.entries()) {
    const same = other.columns[index]
    if (same?.name !== column.name) return `column ${column.name} has another place on ${places[1]}`
    const [left, right] = [columnText(column), columnText(same)]
    if (left !== right) return `column ${column.name} is ${left} on ${places[0]} and ${right} on ${places[1]}`
  }
  return null
}

function columnText(column: ColumnFacts): string {
  const { type, collation, notNull, identity, generated, defaultExpression, sequence } = column
  return [
    type,
    ...(collation === null || collation.name === 'default' ? [] : [`COLLATE ${collation.name}`]),
    ...(notNull ? ['NOT NULL'] : []),
    ...(identity === null ? [] : [`IDENTITY ${identity}`]),
    ...(generated ? ['GENERATED'] : []),
    // The name of a sequence is no difference.
    ...(defaultExpression === null
      ? []
      : [`DEFAULT ${sequence === null ? defaultExpression : 'of a sequence'}`]),
  ].join(' ')
}

function keysOf({ uniques }: TableFacts): string[] {
  return uniques.map(({ kind, columns, partial }) => {
    const list = columns.map((column) => column ?? '(expression)').join(', ')
    return `${kind} (${list})${partial ? ' WHERE …' : ''}`
  })
}

function foreignKeysOf({ foreignKeys }: TableFacts): string[] {
  return foreignKeys.map(
    ({ columns, references, referencedColumns }) =>
      `(${columns.join(', ')}) to ${references} (${referencedColumns.join(', ')})`,
  )
}

function triggersOf({ triggers }: TableFacts): string[] {
  return triggers.map(
    ({ name, timing, perRow, onInsert, onUpdate, enabled, routine }) =>
      `${name} (${timing}${perRow ? ' row' : ''}${onInsert ? ' insert' : ''}${onUpdate ? ' update' : ''}${enabled ? '' : ' disabled'}, ${routine})`,
  )
}

/** What one of two lists has and the other lacks. */
function onlyOn(
  what: string,
  [left, right]: readonly [readonly string[], readonly string[]],
  places: readonly [string, string],
): string | null {
  const missing = left.find((text) => !right.includes(text))
  if (missing !== undefined) return `${what} ${missing} is only there on ${places[0]}`
  const extra = right.find((text) => !left.includes(text))
  return extra === undefined ? null : `${what} ${extra} is only there on ${places[1]}`
}
