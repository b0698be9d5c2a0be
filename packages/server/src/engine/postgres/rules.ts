// The rules that a table must keep to be sharded, as one function over facts. Each refusal says what is wrong and
// which statement makes it right. The reason of them all: a shard enforces uniqueness, references and triggers over
// its own rows only, so whatever would need the rows of another shard must be impossible by construction.
import { FleetError, assertNever, type KeyType } from '@fleetshard/core'
import type {
  CheckedDeclaration,
  ColumnFacts,
  ForeignKeyFacts,
  TableDeclaration,
  TableFacts,
  UniqueFacts,
} from '../schema-facts.ts'
import { quoteIdentifier } from './errors.ts'

const keyTypes: Readonly<Record<string, KeyType>> = {
  text: 'text',
  varchar: 'text',
  int2: 'int2',
  int4: 'int4',
  int8: 'int8',
  uuid: 'uuid',
  bytea: 'bytea',
}

/** Why a type can't be a shard key: equal values must have one form, byte for byte. */
const refusedTypes: Readonly<Record<string, string>> = {
  citext: "citext: 'A' and 'a' are equal but hash apart; use text with lower-cased values",
  bpchar: 'character(n): trailing blanks count in the value but not in comparisons; use text',
  float4: 'real: 0 and -0 are equal but hash apart, and digits depend on the client; use bigint or text',
  float8: 'double precision: 0 and -0 are equal but hash apart; use bigint or text',
  numeric: 'numeric: 1.0 and 1.00 are equal but hash apart; use bigint or text',
  timestamp: 'timestamp: its text depends on settings, and new rows would all go to one place; use an id',
  timestamptz:
    'timestamptz: its text depends on the time zone, and new rows would go to one place; use an id',
  date: 'date: new rows would all go to one place; use an id',
}

/** What the hint says: an end without a way out would be no answer. */
function refuse(table: TableFacts, reason: string, hint: string): never {
  throw new FleetError('schema_refused', `table ${table.name}: ${reason}`, {
    hint,
    facts: { table: table.name },
  })
}

/** See the port. */
export function checkDeclaration(
  table: TableFacts,
  declaration: TableDeclaration,
  declared?: readonly TableDeclaration[],
): CheckedDeclaration {
  checkRelation(table)
  if (declared !== undefined) checkForeignKeys(table, declaration, declared)
  const keyType = checkKind(table, declaration)
  if (declaration.triggersKeepKey !== true) checkCode(table, declaration, declared ?? [])
  return { declaration, keyType }
}

function checkKind(table: TableFacts, declaration: TableDeclaration): KeyType | null {
  switch (declaration.kind) {
    case 'sharded':
      return checkSharded(table, declaration)
    case 'reference':
      checkNoKey(table, declaration)
      checkSequences(table)
      return null
    case 'global':
      checkNoKey(table, declaration)
      return null
    default:
      return assertNever(declaration.kind)
  }
}

function checkRelation(table: TableFacts): void {
  if (table.kind === 'foreign') {
    refuse(table, 'it is a foreign table', 'declare the table on the server where its rows are')
  }
  if (table.kind === 'partition') {
    refuse(table, `it is a partition of ${table.parent ?? 'another table'}`, 'declare the partitioned table')
  }
  if (table.parent !== null) {
    refuse(table, `it inherits from ${table.parent}`, `ALTER TABLE ${table.name} NO INHERIT ${table.parent}`)
  }
  if (table.unlogged) {
    const why = 'it is unlogged: replicas do not have its rows, and a crash empties it'
    refuse(table, why, `ALTER TABLE ${table.name} SET LOGGED`)
  }
}

function checkNoKey(table: TableFacts, declaration: TableDeclaration): void {
  if (declaration.keyColumn !== null) {
    refuse(
      table,
      `a ${declaration.kind} table has no shard key`,
      'leave the key out, or declare it as sharded',
    )
  }
}

function checkSharded(table: TableFacts, declaration: TableDeclaration): KeyType {
  const names = table.columns.map((column) => column.name).join(', ')
  if (declaration.keyColumn === null) {
    refuse(table, 'a sharded table needs a shard key', `name one of its columns: ${names}`)
  }
  const key = table.columns.find((column) => column.name === declaration.keyColumn)
  if (key === undefined) {
    refuse(table, `there is no column ${declaration.keyColumn}`, `its columns are: ${names}`)
  }
  const keyType = checkKeyColumn(table, key)
  checkSequences(table)
  for (const unique of table.uniques) checkUnique(table, unique, key)
  return keyType
}

function checkKeyColumn(table: TableFacts, key: ColumnFacts): KeyType {
  const name = quoteIdentifier(key.name)
  const keyType = keyTypes[key.baseType]
  if (keyType === undefined) {
    const refused = refusedTypes[key.baseType]
    const why = refused ?? `${key.type}: not a type whose equal values have one form`
    refuse(table, `column ${key.name} can't be the shard key. ${why}`, typeHint)
  }
  if (key.generated) {
    const why = `column ${key.name} is generated from others: the key would be known only after the row is stored`
    refuse(table, why, `choose a column that clients give, or ALTER COLUMN ${name} DROP EXPRESSION`)
  }
  if (key.identity === 'always') {
    const why = `column ${key.name} is GENERATED ALWAYS AS IDENTITY, but clients must give the shard key`
    refuse(table, why, `ALTER TABLE ${table.name} ALTER COLUMN ${name} SET GENERATED BY DEFAULT`)
  }
  if (key.collation?.deterministic === false) {
    const why = `column ${key.name} has the nondeterministic collation ${key.collation.name}: equal values may differ in bytes and hash apart`
    refuse(table, why, `ALTER TABLE ${table.name} ALTER COLUMN ${name} TYPE ${key.type} COLLATE "C"`)
  }
  if (!key.notNull) {
    const why = `column ${key.name} may be NULL, and NULL has no shard`
    refuse(table, why, `ALTER TABLE ${table.name} ALTER COLUMN ${name} SET NOT NULL`)
  }
  return keyType
}

const typeHint = 'shard keys are text, varchar, smallint, integer, bigint, uuid or bytea'

/** Every shard counts in a block of 2^40, which only eight bytes can hold. */
function checkSequences(table: TableFacts): void {
  for (const column of table.columns) {
    const { sequence } = column
    if (sequence === null) continue
    const alter = `ALTER TABLE ${table.name} ALTER COLUMN ${quoteIdentifier(column.name)} TYPE bigint; ALTER SEQUENCE ${sequence.name} AS bigint`
    if (column.baseType !== 'int8' || sequence.type !== 'int8') {
      const why = `column ${column.name} counts in a sequence of less than 64 bits: each shard needs a block of its own`
      refuse(table, why, `use BIGSERIAL or a bigint identity: ${alter}`)
    }
    if (BigInt(sequence.increment) <= 0n) {
      refuse(table, `sequence ${sequence.name} counts down`, `ALTER SEQUENCE ${sequence.name} INCREMENT BY 1`)
    }
  }
}

function checkUnique(table: TableFacts, unique: UniqueFacts, key: ColumnFacts): void {
  if (unique.columns.includes(key.name)) return
  if (unique.kind === 'primary' && unique.columns.some((name) => isUniqueByAllocation(table, name))) return
  const columns = unique.columns.map((name) => name ?? '(expression)').join(', ')
  const why = `${unique.name} wants (${columns}) to be unique, but without the shard key ${key.name} each shard sees only its own rows`
  const plain = unique.columns.filter((name) => name !== null).map(quoteIdentifier)
  const widened = [quoteIdentifier(key.name), ...plain].join(', ')
  refuse(table, why, uniqueHint(unique, widened))
}

function uniqueHint(unique: UniqueFacts, widened: string): string {
  switch (unique.kind) {
    case 'primary':
      return `use PRIMARY KEY (${widened}), or a BIGSERIAL primary key, which is unique by allocation`
    case 'unique':
      return `use UNIQUE (${widened}), or shard by the unique column, or make the index not unique`
    case 'exclusion':
      return `add ${widened.split(', ')[0] ?? ''} WITH = to the exclusion constraint`
    default:
      return assertNever(unique.kind)
  }
}

/** A sequence's numbers as they are: multiplied or cut, those of two shards may meet. */
const plainNextval = /^nextval\('(?:[^']|'')+'::regclass\)$/

/** Given by a sequence that counts in the shard's block, or by our generator: no other shard gives the same value. */
function isUniqueByAllocation(table: TableFacts, name: string | null): boolean {
  const column = table.columns.find((candidate) => candidate.name === name)
  if (column?.baseType !== 'int8') return false
  const { defaultExpression, identity, sequence } = column
  if (sequence !== null) return identity !== null || plainNextval.test(defaultExpression ?? '')
  return /^fleetshard\.next_id\(\)$/.test(defaultExpression ?? '')
}

/** What runs with the rows of a table without being named by a statement: nobody sees which other rows it touches. */
function checkCode(
  table: TableFacts,
  declaration: TableDeclaration,
  declared: readonly TableDeclaration[],
): void {
  // A statement that writes a reference table runs only while there is one shard.
  if (declaration.kind !== 'reference') checkTriggers(table)
  for (const { what, functions, tables } of table.lookups) {
    const [routine] = functions
    if (routine !== undefined) {
      const why = `${what} calls ${routine}, which may read rows, and each shard sees only its own`
      refuse(table, why, `if it reads no table, ALTER FUNCTION ${routine} IMMUTABLE; else leave it out`)
    }
    const read = tables.find((name) => kindOf(name, [...declared, declaration]) !== 'reference')
    if (read === undefined) continue
    refuse(
      table,
      `${what} reads ${read}, and each shard sees only its own rows of that`,
      'let it compare columns with settings of the session, or read reference tables',
    )
  }
}

const kindOf = (name: string, declared: readonly TableDeclaration[]): TableDeclaration['kind'] | null =>
  declared.find((one) => one.name === name)?.kind ?? null

function checkTriggers(table: TableFacts): void {
  const trigger = table.triggers.find(({ enabled }) => enabled)
  const byHand = 'create it by hand on every shard once the table is declared'
  if (trigger !== undefined) {
    const why = `the trigger ${trigger.name} (${trigger.routine}) might change the shard key, or touch rows of other shards`
    refuse(
      table,
      why,
      `let the client do its work in the same transaction; or, if all it touches has the key of its row, ${byHand}`,
    )
  }
  if (table.hasRules) {
    refuse(
      table,
      'its rewrite rules might change the shard key, or write to other shards',
      `leave them out; or, if they keep to the key of the row, ${byHand}`,
    )
  }
}

function checkForeignKeys(
  table: TableFacts,
  declaration: TableDeclaration,
  declared: readonly TableDeclaration[],
): void {
  for (const foreignKey of table.foreignKeys) {
    const target =
      foreignKey.references === table.name
        ? declaration
        : declared.find((candidate) => candidate.name === foreignKey.references)
    if (target === undefined) {
      const why = `${foreignKey.name} refers to ${foreignKey.references}, which is not declared`
      refuse(table, why, `declare ${foreignKey.references} first, or in the same request`)
    }
    checkForeignKey(table, declaration, foreignKey, target)
  }
}

function checkForeignKey(
  table: TableFacts,
  declaration: TableDeclaration,
  foreignKey: ForeignKeyFacts,
  target: TableDeclaration,
): void {
  if (target.kind === 'reference') return // all its rows are on every shard
  const { name, references } = foreignKey
  if (target.kind === 'global') {
    if (declaration.kind === 'global' && sameHome(declaration, target)) return
    const why = `${name} refers to ${references}, whose rows are all on one shard`
    refuse(table, why, `declare ${references} as a reference table`)
  }
  if (declaration.kind !== 'sharded') {
    const why = `${name} refers to ${references}, whose rows are spread over the shards`
    refuse(table, why, `drop ${name}, or declare the table as sharded by the same key`)
  }
  const at = foreignKey.columns.indexOf(declaration.keyColumn ?? '')
  if (at < 0 || foreignKey.referencedColumns[at] !== target.keyColumn) {
    const why = `${name} refers to ${references} without the shard key, so that the row referred to may be on another shard`
    const key = `${declaration.keyColumn ?? ''} → ${references}.${target.keyColumn ?? ''}`
    refuse(table, why, `make the foreign key include ${key}`)
  }
  if (foreignKey.setsDefault) {
    const why = `${name} would SET DEFAULT the shard key ${declaration.keyColumn ?? ''}, so that the row belongs to another shard`
    refuse(table, why, 'use ON DELETE CASCADE, RESTRICT or NO ACTION')
  }
}

function sameHome(one: TableDeclaration, other: TableDeclaration): boolean {
  return (one.homeShard ?? null) === (other.homeShard ?? null)
}
