// Declared tables of a topology file.
import { parseShardId } from '../ids.ts'
import type { KeyspaceName } from '../ids.ts'
import type { KeyType, TableKind, TableRecord } from '../model.ts'
import { fieldsOf, integerField, requiredText, wordField, type Fields, type NoteMistake } from './fields.ts'
import type { JsonNode } from '../json-tree.ts'

const FIELDS = ['name', 'kind', 'key_column', 'key_type', 'home_shard'] as const
const KINDS = ['sharded', 'reference', 'global'] as const satisfies readonly TableKind[]
const KEY_TYPES = ['text', 'int2', 'int4', 'int8', 'uuid', 'bytea'] as const satisfies readonly KeyType[]
/** A name as Postgres prints it, with its schema or without. */
const NAME = /^(?:(?:[a-z_][a-z0-9_$]*|"(?:[^"]|"")+")\.)?(?:[a-z_][a-z0-9_$]*|"(?:[^"]|"")+")$/
const SCHEMA = /^(?:[a-z_][a-z0-9_$]*|"(?:[^"]|"")+")\./

/** What tables need to know of the rest of the file. */
export interface TablePlace {
  readonly keyspace: KeyspaceName
  readonly createdAt: string
  readonly shardNumbers: ReadonlySet<number>
  readonly note: NoteMistake
}

/** Reads the tables; those with a mistake are noted and left out. */
export function readTables(items: readonly JsonNode[], place: TablePlace): readonly TableRecord[] {
  const tables = new Map<string, TableRecord>()
  for (const [index, item] of items.entries()) {
    const table = readTable(item, `tables[${String(index)}]`, place)
    if (table === null) continue
    if (tables.has(table.name)) {
      place.note({
        at: item.at,
        message: `the table ${table.name} is declared twice`,
        hint: 'keep one of them',
      })
    }
    tables.set(table.name, table)
  }
  return [...tables.values()]
}

function readTable(item: JsonNode, path: string, place: TablePlace): TableRecord | null {
  const fields = fieldsOf(item, path, FIELDS, place.note)
  if (fields === null) return null
  const name = nameOf(fields)
  const kind = wordField(fields, 'kind', KINDS) ?? 'sharded'
  const key = kind === 'sharded' ? keyOf(fields) : noKey(fields, kind)
  const home = homeOf(fields, kind, place)
  if (name === undefined || key === null) return null
  const { keyspace, createdAt } = place
  return {
    keyspace,
    name,
    kind,
    ...key,
    homeShard: home === null ? null : parseShardId(String(home)),
    ddl: null,
    version: 1,
    createdAt,
  }
}

function nameOf(fields: Fields): string | undefined {
  const name = requiredText(fields, 'name', '"name": "users"')
  if (name === undefined) return undefined
  if (NAME.test(name)) return SCHEMA.test(name) ? name : `public.${name}`
  fields.note({
    at: fields.where('name'),
    message: `${fields.path}.name is not the name of a table as Postgres prints it`,
    hint: 'write users or sales.orders; names with capitals or other characters in double quotes: "\\"Orders\\""',
  })
  return undefined
}

type Key = Pick<TableRecord, 'keyColumn' | 'keyType'>

/** Both are asked for: a wrong type would hash a key otherwise than the rows were placed by. */
function keyOf(fields: Fields): Key | null {
  const keyColumn = requiredText(fields, 'key_column', '"key_column": "user_id"')
  const type = requiredText(fields, 'key_type', '"key_type": "text"')
  const keyType = KEY_TYPES.find((known) => known === type)
  if (type !== undefined && keyType === undefined) {
    fields.note({
      at: fields.where('key_type'),
      message: `${fields.path}.key_type must be one of ${KEY_TYPES.join(', ')}`,
      hint: 'varchar is text, smallint int2, integer int4, bigint int8; other types cannot be shard keys',
    })
  }
  return keyColumn === undefined || keyType === undefined ? null : { keyColumn, keyType }
}

function noKey(fields: Fields, kind: TableKind): Key {
  for (const name of ['key_column', 'key_type']) {
    if (fields.node(name) === undefined) continue
    fields.note({
      at: fields.where(name),
      message: `${fields.path} is a ${kind} table and has a ${name}`,
      hint: `leave out ${name}, or "kind": "${kind}"`,
    })
  }
  return { keyColumn: null, keyType: null }
}

/** The shard that holds a global table; null for others. */
function homeOf(fields: Fields, kind: TableKind, { shardNumbers, note }: TablePlace): number | null {
  const home = integerField(fields, 'home_shard', { min: 0, max: Number.MAX_SAFE_INTEGER })
  if (kind !== 'global') {
    if (home !== undefined) {
      note({ at: fields.where('home_shard'), message: `${fields.path}.home_shard is for global tables only` })
    }
    return null
  }
  if (home === undefined || !shardNumbers.has(home)) {
    note({
      at: fields.where('home_shard'),
      message: `${fields.path} is a global table and does not say which shard holds its rows`,
      hint: 'add "home_shard" with the shard_id of one of the shards',
    })
    return null
  }
  return home
}
