// Splits a schema script by the real grammar, and lets through what every shard can run in one transaction: schema
// statements about new tables. The parser is loaded on first use: it takes tens of megabytes, and few processes ever
// need it. Its tree stays in this folder.
import { FleetError } from '@fleetshard/core'
import { useBaselineWasm } from '../../../runtime/mod.ts'
import type { SchemaScript, SchemaStatement } from '../../schema-facts.ts'
import { verdictOf, type StatementNode, type Verdict } from './statements.ts'

/** Longest script, UTF-8 bytes: it is stored in a job's record. */
export const schemaScriptBytesMax = 128 * 1024
/** Most tables that one script may create: they become records in one commit. */
export const schemaTablesMax = 32

interface ParsedStatement {
  readonly stmt?: StatementNode
  /** UTF-8 byte offsets. */
  readonly stmt_location?: number
  readonly stmt_len?: number
}

/** See the port. */
export async function parseSchema(sql: string): Promise<SchemaScript> {
  const bytes = Buffer.from(sql, 'utf8')
  if (bytes.byteLength > schemaScriptBytesMax) {
    throw new FleetError(
      'schema_refused',
      `the script is larger than ${String(schemaScriptBytesMax)} bytes`,
      {
        hint: 'split it into several; each is all or none',
      },
    )
  }
  if (sql.includes('\0')) {
    throw new FleetError('sql_syntax', 'the script has a NUL character', { hint: 'save it as UTF-8 text' })
  }
  const statements: SchemaStatement[] = []
  const creates: string[] = []
  for (const parsed of await parseText(sql)) {
    const start = parsed.stmt_location ?? 0
    const end = parsed.stmt_len === undefined ? bytes.byteLength : start + parsed.stmt_len
    const text = bytes.toString('utf8', start, end).trim()
    const verdict = parsed.stmt === undefined ? null : verdictOf(parsed.stmt, creates)
    if (verdict === null || verdict.kind === 'skip') continue
    if (verdict.kind === 'refuse') throw refusal(verdict, text)
    statements.push({ sql: text, kind: verdict.words, tables: verdict.tables })
    creates.push(...verdict.creates)
  }
  if (creates.length === 0) {
    throw new FleetError('schema_refused', 'the script creates no table', {
      hint: 'add a CREATE TABLE statement',
    })
  }
  if (creates.length > schemaTablesMax) {
    throw new FleetError('schema_refused', `the script creates more than ${String(schemaTablesMax)} tables`, {
      hint: 'split it into several; each is all or none',
    })
  }
  return { statements, creates }
}

async function parseText(sql: string): Promise<readonly ParsedStatement[]> {
  if (sql.trim() === '') return [] // the library refuses an empty text
  useBaselineWasm()
  const { parse } = await import('libpg-query')
  try {
    const tree = (await parse(sql)) as { readonly stmts?: readonly ParsedStatement[] }
    return tree.stmts ?? []
  } catch (cause) {
    throw syntaxError(cause, sql)
  }
}

/** The parser counts characters (code points) from 0. */
function syntaxError(cause: unknown, sql: string): FleetError {
  const details = (cause as { sqlDetails?: { message?: string; cursorPosition?: number } }).sqlDetails
  const position = details?.cursorPosition ?? -1
  const before = Array.from(sql).slice(0, Math.max(0, position)).join('')
  const line = before.split('\n').length
  const where = position < 0 ? '' : ` in line ${String(line)}`
  const psql = /^\s*\\/m.test(sql)
  return new FleetError('sql_syntax', `${details?.message ?? 'the script cannot be parsed'}${where}`, {
    hint: psql ? 'remove the commands of psql (lines that begin with a backslash)' : 'correct the script',
    cause,
    facts: { position: position < 0 ? null : position + 1, line },
  })
}

function refusal(verdict: Extract<Verdict, { kind: 'refuse' }>, text: string): FleetError {
  const start = text.replace(/\s+/g, ' ').slice(0, 60)
  return new FleetError('schema_refused', `${verdict.reason}: ${start}`, { hint: verdict.hint })
}

/**
 * The statements of a script by the table that they come with: consecutive parts, one a created table, which joined
 * again in order are the script. What lies before a table (types, functions) comes with it; what follows the last
 * table as well. So tables created in order from their stored parts are what the script made.
 */
export function statementsByTable(script: SchemaScript): ReadonlyMap<string, readonly string[]> {
  const parts = new Map<string, string[]>()
  let waiting: string[] = []
  let current: string[] | null = null
  for (const statement of script.statements) {
    const created = script.creates.find((name) => !parts.has(name) && createsTable(statement, name))
    if (created !== undefined) {
      current = [...waiting, statement.sql]
      parts.set(created, current)
      waiting = []
    } else if (current === null || statement.tables.length === 0) {
      waiting.push(statement.sql)
    } else {
      current.push(...waiting, statement.sql)
      waiting = []
    }
  }
  current?.push(...waiting)
  return parts
}

function createsTable(statement: SchemaStatement, name: string): boolean {
  return statement.kind === 'CREATE TABLE' && statement.tables[0] === name
}
