// What a schema file says about sharding: which tables it creates, and the comments that say how each is to be kept:
//   -- fleetshard: users key user_id
//   -- fleetshard: countries reference
//   -- fleetshard: settings global
// The SQL itself is read by the manager with Postgres' grammar; here only names are looked for, to help the user.
import type { TableDeclaration } from '@fleetshard/core/contract'
import { usage } from './options.ts'

/** Largest schema file, in characters; the contract's bound. */
export const schemaCharsMax = 131_072

const NAME = String.raw`(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)`
const QUALIFIED = `${NAME}(?:\\s*\\.\\s*${NAME})?`
const CREATE = new RegExp(
  `\\bcreate\\s+(?:unlogged\\s+)?table\\s+(?:if\\s+not\\s+exists\\s+)?(${QUALIFIED})`,
  'gi',
)
const DIRECTIVE = new RegExp(`^\\s*--\\s*fleetshard:\\s*(.*)$`, 'gim')
const DIRECTIVE_TEXT = new RegExp(`^(${QUALIFIED})\\s+(?:key\\s+(${NAME})|(reference|global))\\s*;?$`, 'i')

/** The tables that the file creates, in its order. */
export function createdTables(sql: string): readonly string[] {
  return [...withoutTexts(sql).matchAll(CREATE)].map((match) => (match[1] ?? '').replaceAll(/\s/g, ''))
}

/** The declarations in the comments of the file. @throws FleetError `invalid_usage` for one that can't be read */
export function declaredTables(sql: string): readonly TableDeclaration[] {
  return [...sql.matchAll(DIRECTIVE)].map((match) => {
    const text = (match[1] ?? '').trim()
    const [, name, key, kind] = DIRECTIVE_TEXT.exec(text) ?? []
    if (name === undefined) {
      throw usage(
        `the comment "fleetshard: ${text.slice(0, 60)}" cannot be read`,
        'write -- fleetshard: TABLE key COLUMN, or TABLE reference, or TABLE global',
      )
    }
    if (key !== undefined) return { name, kind: 'sharded', key_column: unquoted(key) }
    return { name, kind: kind?.toLowerCase() === 'global' ? 'global' : 'reference' }
  })
}

/** Flags of `table create` and `table declare` that say how tables are kept. */
export interface TableFlags {
  /** `user_id`, or `users=user_id`. */
  readonly keys: readonly string[]
  readonly reference: readonly string[]
  readonly global: readonly string[]
}

/**
 * How each table is to be kept, by flags first, then by the comments of the file.
 * @param created tables that the flags may be about when they name none
 * @throws FleetError `invalid_usage` when a table is left without a word, or a word is about no table
 */
export function declarations(
  created: readonly string[],
  flags: TableFlags,
  comments: readonly TableDeclaration[],
): readonly TableDeclaration[] {
  const found = new Map<string, TableDeclaration>(comments.map((table) => [plainName(table.name), table]))
  for (const key of flags.keys) {
    const [name, column] = key.includes('=') ? splitOnce(key) : [onlyTable(created), key]
    found.set(plainName(name), { name, kind: 'sharded', key_column: column })
  }
  for (const name of flags.reference) found.set(plainName(name), { name, kind: 'reference' })
  for (const name of flags.global) found.set(plainName(name), { name, kind: 'global' })
  for (const name of created) {
    if (found.has(plainName(name))) continue
    throw usage(
      `it is not said how table ${name} is to be kept`,
      `add --key ${created.length === 1 ? 'COLUMN' : `${name}=COLUMN`}, --reference ${name} or --global ${name}`,
    )
  }
  for (const table of found.values()) refuseUnknown(table, created)
  return [...found.values()]
}

function refuseUnknown({ name }: TableDeclaration, created: readonly string[]): void {
  if (created.some((each) => plainName(each) === plainName(name))) return
  throw usage(`the file creates no table ${name}`, `it creates ${created.join(', ') || 'none'}`)
}

function onlyTable(created: readonly string[]): string {
  const [only] = created
  if (only !== undefined && created.length === 1) return only
  throw usage('--key must name the table when there are several', `write --key ${only ?? 'TABLE'}=COLUMN`)
}

function splitOnce(text: string): readonly [string, string] {
  const at = text.indexOf('=')
  return [text.slice(0, at).trim(), text.slice(at + 1).trim()]
}

/** One form for `Users`, `public.users` and `"users"`. */
function plainName(name: string): string {
  return name
    .split('.')
    .map((part) => (part.startsWith('"') ? unquoted(part) : part.toLowerCase()))
    .join('.')
    .replace(/^public\./, '')
}

function unquoted(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name
}

/** The SQL with comments, texts and dollar-quoted bodies emptied: a word in them is no statement. */
function withoutTexts(sql: string): string {
  return sql.replaceAll(/--[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^']|'')*'|\$(\w*)\$[\s\S]*?\$\1\$/g, ' ')
}
