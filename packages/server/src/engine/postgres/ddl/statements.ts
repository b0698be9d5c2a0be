// Which statements a schema script may hold, as a table by node name of the parse tree. What is not in the table is
// refused: a statement that nobody thought about must not run on every shard.
import { formatTableName } from '../names.ts'

/** One node of the parse tree: an object with one field, the name of its kind. */
export type StatementNode = Readonly<Record<string, unknown>>

/** What becomes of one statement. */
export type Verdict =
  | {
      readonly kind: 'run'
      /** The command in words of SQL. */
      readonly words: string
      /** Tables that it creates or is about, qualified. */
      readonly tables: readonly string[]
      /** Tables that it creates and that can be declared (no partitions). */
      readonly creates: readonly string[]
    }
  /** Says nothing that matters here: the script runs in one transaction with settings of its own. */
  | { readonly kind: 'skip' }
  | { readonly kind: 'refuse'; readonly reason: string; readonly hint: string }

interface RangeVar {
  readonly schemaname?: string
  readonly relname?: string
  readonly relpersistence?: string
  readonly catalogname?: string
}

type Fields = Readonly<Record<string, unknown>>
type Rule = (node: Fields, created: readonly string[]) => Verdict

const skip: Verdict = { kind: 'skip' }

function refuse(reason: string, hint: string): Verdict {
  return { kind: 'refuse', reason, hint }
}

/** Runs without being about a table: types, functions, extensions, schemas. */
function plain(words: string): Rule {
  return () => ({ kind: 'run', words, tables: [], creates: [] })
}

/** Runs when the table in that field is one that the script creates. */
function about(words: string, field: string): Rule {
  return (node, created) => aboutTable(words, node[field] as RangeVar | undefined, created)
}

function aboutTable(words: string, relation: RangeVar | undefined, created: readonly string[]): Verdict {
  const table = nameOf(relation)
  if (created.includes(table)) return { kind: 'run', words, tables: [table], creates: [] }
  return refuse(
    `${table} is not created in this script`,
    'a script makes new tables whole; change a table that exists by hand on every shard, in a quiet moment',
  )
}

function nameOf(relation: RangeVar | undefined): string {
  return formatTableName({ schema: relation?.schemaname ?? 'public', relation: relation?.relname ?? '' })
}

const dataHint = 'send rows through the router when the tables are there'

/** Settings that dumps begin with and that the transaction sets by itself, or that change nothing here. */
const skippedSettings = new Set([
  'statement_timeout',
  'lock_timeout',
  'transaction_timeout',
  'idle_in_transaction_session_timeout',
  'client_encoding',
  'standard_conforming_strings',
  'check_function_bodies',
  'xmloption',
  'client_min_messages',
  'row_security',
  'default_tablespace',
  'default_table_access_method',
])

const rules: Readonly<Record<string, Rule>> = {
  CreateStmt: createTable,
  IndexStmt: createIndex,
  AlterTableStmt: alterTable,
  CreateTrigStmt: about('CREATE TRIGGER', 'relation'),
  CreatePolicyStmt: about('CREATE POLICY', 'table'),
  RuleStmt: about('CREATE RULE', 'relation'),
  CreateSeqStmt: createSequence,
  AlterSeqStmt: plain('ALTER SEQUENCE'),
  CreateSchemaStmt: createSchema,
  CreateExtensionStmt: plain('CREATE EXTENSION'),
  CreateEnumStmt: plain('CREATE TYPE'),
  CompositeTypeStmt: plain('CREATE TYPE'),
  CreateRangeStmt: plain('CREATE TYPE'),
  AlterEnumStmt: plain('ALTER TYPE'),
  CreateDomainStmt: plain('CREATE DOMAIN'),
  AlterDomainStmt: plain('ALTER DOMAIN'),
  DefineStmt: plain('CREATE'),
  CreateFunctionStmt: plain('CREATE FUNCTION'),
  CreateCastStmt: plain('CREATE CAST'),
  CreateStatsStmt: plain('CREATE STATISTICS'),
  ViewStmt: createView,
  CommentStmt: plain('COMMENT'),
  GrantStmt: plain('GRANT'),
  AlterOwnerStmt: plain('ALTER OWNER'),
  AlterObjectDependsStmt: plain('ALTER DEPENDS'),
  TransactionStmt: transaction,
  VariableSetStmt: setting,
  SelectStmt: select,
  InsertStmt: () => refuse('a schema script holds no rows', dataHint),
  UpdateStmt: () => refuse('a schema script holds no rows', dataHint),
  DeleteStmt: () => refuse('a schema script holds no rows', dataHint),
  MergeStmt: () => refuse('a schema script holds no rows', dataHint),
  CopyStmt: () => refuse('a schema script holds no rows', `dump with --schema-only, and ${dataHint}`),
  TruncateStmt: () => refuse('a schema script deletes nothing', 'leave the statement out'),
  DropStmt: () => refuse('a schema script drops nothing', 'leave DROP out'),
  CreateTableAsStmt: createTableAs,
  DoStmt: () => refuse('DO can do anything, also what may not run here', 'write its statements out'),
  CallStmt: () => refuse('CALL can do anything, also what may not run here', 'write its statements out'),
  RenameStmt: () => refuse('renames are not needed for new tables', 'create the table under its final name'),
  CreatedbStmt: () => refuse('CREATE DATABASE can run in no transaction', 'a shard has its database already'),
  CreateRoleStmt: () =>
    refuse('roles belong to the server, not to a shard', 'create the role on each server'),
  VacuumStmt: () => refuse('VACUUM and ANALYZE have nothing to do on new tables', 'leave the statement out'),
}

/** What becomes of a statement. `created`: tables that the statements before it create. */
export function verdictOf(statement: StatementNode, created: readonly string[]): Verdict {
  const [entry] = Object.entries(statement)
  const rule = entry === undefined ? undefined : rules[entry[0]]
  if (entry !== undefined && rule !== undefined) return rule(entry[1] as Fields, created)
  return refuse(
    "a schema script can't hold this statement",
    'allowed are CREATE TABLE, INDEX, TYPE, DOMAIN, FUNCTION, VIEW, SEQUENCE, SCHEMA, EXTENSION, TRIGGER, POLICY, and ALTER TABLE, COMMENT, GRANT about them',
  )
}

function createTable(node: Fields, created: readonly string[]): Verdict {
  const relation = node['relation'] as RangeVar | undefined
  const table = nameOf(relation)
  if (relation?.relpersistence === 't') {
    return refuse(`${table} is temporary`, 'temporary tables belong to a session: leave the statement out')
  }
  if (relation?.catalogname !== undefined)
    return refuse(`${table} names a database`, 'leave the database out')
  if (/^(pg_|fleetshard$|information_schema$)/.test(relation?.schemaname ?? '')) {
    return refuse(`${table} lies in a schema that is not the user's`, 'choose another schema')
  }
  const parents = (node['inhRelations'] as readonly { RangeVar?: RangeVar }[] | undefined) ?? []
  if (node['partbound'] !== undefined) {
    const verdict = aboutTable('CREATE TABLE … PARTITION OF', parents[0]?.RangeVar, created)
    return verdict.kind === 'run' ? { ...verdict, tables: [...verdict.tables, table] } : verdict
  }
  if (created.includes(table)) return refuse(`${table} is created twice`, 'leave one of the two out')
  return { kind: 'run', words: 'CREATE TABLE', tables: [table], creates: [table] }
}

function createIndex(node: Fields, created: readonly string[]): Verdict {
  if (node['concurrent'] === true) {
    return refuse(
      'CREATE INDEX CONCURRENTLY can run in no transaction',
      'leave CONCURRENTLY out: the table is new and empty',
    )
  }
  return partitionOr(aboutTable('CREATE INDEX', node['relation'] as RangeVar | undefined, created))
}

function alterTable(node: Fields, created: readonly string[]): Verdict {
  // Dumps write ALTER TABLE for sequences and views, too.
  if (node['objtype'] !== undefined && node['objtype'] !== 'OBJECT_TABLE') {
    return { kind: 'run', words: 'ALTER', tables: [], creates: [] }
  }
  return partitionOr(aboutTable('ALTER TABLE', node['relation'] as RangeVar | undefined, created))
}

function partitionOr(verdict: Verdict): Verdict {
  return verdict.kind === 'refuse'
    ? { ...verdict, hint: `${verdict.hint}; of a partitioned table, change the parent` }
    : verdict
}

function createSequence(node: Fields): Verdict {
  const relation = node['sequence'] as RangeVar | undefined
  return relation?.relpersistence === 't'
    ? refuse(`${nameOf(relation)} is temporary`, 'leave TEMPORARY out')
    : { kind: 'run', words: 'CREATE SEQUENCE', tables: [], creates: [] }
}

function createSchema(node: Fields): Verdict {
  return node['schemaElts'] === undefined
    ? { kind: 'run', words: 'CREATE SCHEMA', tables: [], creates: [] }
    : refuse('CREATE SCHEMA creates other things in one statement', 'write each as a statement of its own')
}

function createView(node: Fields): Verdict {
  const relation = node['view'] as RangeVar | undefined
  return relation?.relpersistence === 't'
    ? refuse(`${nameOf(relation)} is temporary`, 'leave TEMPORARY out')
    : { kind: 'run', words: 'CREATE VIEW', tables: [], creates: [] }
}

function createTableAs(node: Fields): Verdict {
  return node['objtype'] === 'OBJECT_MATVIEW'
    ? refuse('a materialized view holds rows of its own shard only', 'use a view, or a table')
    : refuse('CREATE TABLE AS fills the table', `create the table empty; ${dataHint}`)
}

function transaction(node: Fields): Verdict {
  const kind = node['kind']
  if (kind === 'TRANS_STMT_BEGIN' || kind === 'TRANS_STMT_START' || kind === 'TRANS_STMT_COMMIT') return skip
  return refuse('the script runs in one transaction of its own', 'leave ROLLBACK and savepoints out')
}

function setting(node: Fields): Verdict {
  const name = typeof node['name'] === 'string' ? node['name'] : ''
  if (skippedSettings.has(name)) return skip
  return name === 'search_path'
    ? refuse('the script changes search_path', 'write table names with their schema')
    : refuse(`the script changes ${name === '' ? 'a setting' : name}`, 'leave SET out')
}

/** The one SELECT that dumps hold: `SELECT pg_catalog.set_config('search_path', '', false)`. */
function select(node: Fields): Verdict {
  const text = JSON.stringify(node['targetList'] ?? null)
  const empties = /"sval":"set_config".*"sval":"search_path".*"sval":""/.test(text)
  if (empties && node['fromClause'] === undefined) return skip
  return /"sval":"setval"/.test(text)
    ? refuse(
        'setval changes a sequence outside the transaction',
        'leave it out: each shard counts in its own block',
      )
    : refuse('a schema script reads nothing', 'leave the SELECT out')
}
