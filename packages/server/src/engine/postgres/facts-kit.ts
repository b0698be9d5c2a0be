// Short ways to facts, for the tests of rules and suggestions.
import type { ColumnFacts, SequenceFacts, TableFacts, UniqueFacts } from '../schema-facts.ts'

/** A NOT NULL column without anything else. */
export function columnFacts(name: string, baseType: string): ColumnFacts {
  return {
    name,
    type: baseType,
    baseType,
    isDomain: false,
    notNull: true,
    collation: ['text', 'varchar'].includes(baseType) ? { name: 'default', deterministic: true } : null,
    identity: null,
    generated: false,
    defaultExpression: null,
    sequence: null,
  }
}

/** A bigint sequence that was never used. */
export function sequenceFacts(name: string, change: Partial<SequenceFacts> = {}): SequenceFacts {
  return {
    name,
    type: 'int8',
    minValue: '1',
    maxValue: '9223372036854775807',
    increment: '1',
    cycles: false,
    lastValue: null,
    ...change,
  }
}

/** A unique index over these columns. */
export function uniqueFacts(
  name: string,
  columns: readonly (string | null)[],
  change: Partial<UniqueFacts> = {},
): UniqueFacts {
  return { name, kind: 'unique', columns, partial: false, ...change }
}

/** An ordinary table without columns. */
export function tableFacts(name: string, change: Partial<TableFacts> = {}): TableFacts {
  const [schema = '', relation = ''] = name.split('.')
  return {
    name,
    schema,
    relation,
    kind: 'table',
    unlogged: false,
    parent: null,
    columns: [],
    uniques: [],
    foreignKeys: [],
    triggers: [],
    lookups: [],
    hasRules: false,
    rowsEstimate: null,
    bytes: 0,
    ...change,
  }
}
