// What a shard's database says about functions, operators, types and tables: decides which statements may share a
// lane, which may write, which leave state behind that can't be seen, and which reach rows in ways that the statement
// does not show. Over-approximates by name, whatever the schema.
import { query, type ServerConnection } from '../wire/mod.ts'
import type { StatementFacts, TableUse } from '../plan/facts.ts'
import type { AllocatedKey } from './allocated-ids.ts'
import { factsSql } from './schema-facts-sql.ts'

/** Names of one database. */
export interface SchemaFacts {
  /** Built-in functions that only compute. A positive list: a function made a moment ago is not on it. */
  readonly safeFunctions: ReadonlySet<string>
  /** Aggregates and window functions. */
  readonly aggregates: ReadonlySet<string>
  /** Functions that leave nothing behind in a session. */
  readonly cleanFunctions: ReadonlySet<string>
  /** Functions that may read any table. */
  readonly readingFunctions: ReadonlySet<string>
  /** Names that may be a volatile function, or one of the user's, in `row.function` notation. */
  readonly unsafeNames: ReadonlySet<string>
  readonly unsafeOperators: ReadonlySet<string>
  /** Operators by functions that may read any table. */
  readonly readingOperators: ReadonlySet<string>
  /** What of the user's may take part in `=` of built-in types: `same` for two of one type, `mixed` for two of different types. */
  readonly ownEquality: ReadonlySet<string>
  /** Sequences that are of no column: they count on each shard by themselves. */
  readonly freeSequences: ReadonlySet<string>
  readonly userTypes: ReadonlySet<string>
  /** Tables that a SELECT reads as they are: no views, no row security, no rules. */
  readonly readableTables: ReadonlySet<string>
  /** Of these, tables without triggers and without defaults by functions of the user's. */
  readonly plainTables: ReadonlySet<string>
  /** Tables with defaults by sequences, and those whose rows take others along by a foreign key. */
  readonly countingTables: ReadonlySet<string>
  /** Views, partitions, children and foreign tables: a write to one may reach the rows of another. */
  readonly indirectTables: ReadonlySet<string>
  readonly systemTables: ReadonlySet<string>
  /** Names that several tables have → the schema of the one that a new connection finds; empty where it finds none. */
  readonly doubleNames: ReadonlyMap<string, string>
  /** OID of a domain → OID of the type that it is made of. */
  readonly domains: ReadonlyMap<number, number>
  /** Characters of a varchar column, by `widthKey`; 0 where a domain hides it. */
  readonly widths: ReadonlyMap<string, number>
  /** Tables → their primary keys with columns that sequences give; several where tables have one name. */
  readonly allocatedKeys: ReadonlyMap<string, readonly AllocatedKey[]>
  /** True where casts or operators of the user's run without being named. */
  readonly implicitCode: boolean
}

/** Names a column in `widths`. */
export const widthKey = (table: string, column: string): string => `${table}\0${column}`

/** Built-in functions that tell one session from another though they are not volatile. */
const sessionFunctions = [
  'pg_backend_pid',
  'current_setting',
  'txid_current',
  'txid_current_if_assigned',
  'pg_current_xact_id',
  'pg_current_xact_id_if_assigned',
  'inet_client_addr',
  'inet_client_port',
  'inet_server_addr',
  'inet_server_port',
  'pg_my_temp_schema',
  'pg_listening_channels',
  'pg_cursor',
  'pg_prepared_statement',
  'pg_show_all_settings',
  'pg_trigger_depth',
]

/** Volatile functions that may as well be called twice. */
const repeatableFunctions = [
  'nextval',
  'random',
  'random_normal',
  'gen_random_uuid',
  'uuidv4',
  'uuidv7',
  'clock_timestamp',
  'timeofday',
  'pg_sleep',
  'pg_sleep_for',
  'pg_sleep_until',
  'pg_advisory_xact_lock',
  'pg_advisory_xact_lock_shared',
  'pg_try_advisory_xact_lock',
  'pg_try_advisory_xact_lock_shared',
]

/** Volatile functions that tell of the server, and change nothing: drivers and health checks ask them again and again. */
const observingFunctions = [
  'pg_is_in_recovery',
  'pg_current_wal_lsn',
  'pg_current_wal_insert_lsn',
  'pg_current_wal_flush_lsn',
  'pg_last_wal_receive_lsn',
  'pg_last_wal_replay_lsn',
  'pg_last_xact_replay_timestamp',
  'pg_is_wal_replay_paused',
  'pg_get_wal_replay_pause_state',
  'pg_database_size',
  'pg_tablespace_size',
  'pg_relation_size',
  'pg_table_size',
  'pg_indexes_size',
  'pg_total_relation_size',
  'pg_partition_tree',
  'pg_partition_ancestors',
  'pg_blocking_pids',
  'pg_safe_snapshot_blocking_pids',
  'pg_lock_status',
  'pg_prepared_xact',
  'pg_sequence_last_value',
  'currval',
  'lastval',
  'pg_xact_status',
  'pg_xact_commit_timestamp',
  'pg_last_committed_xact',
  'pg_notification_queue_usage',
  'pg_control_system',
  'pg_control_checkpoint',
  'pg_control_recovery',
  'pg_control_init',
]

/** Volatile functions that act on the server, and leave nothing behind in a session. */
const actingFunctions = [
  'setval',
  'pg_notify',
  'pg_advisory_unlock',
  'pg_advisory_unlock_shared',
  'pg_advisory_unlock_all',
  'pg_cancel_backend',
  'pg_terminate_backend',
  'pg_reload_conf',
  'pg_switch_wal',
  'pg_logical_emit_message',
]

/** Volatile functions that leave nothing behind in a session. */
const tidyFunctions = [...repeatableFunctions, ...sessionFunctions, ...observingFunctions, ...actingFunctions]

/** Built-in functions that run a query, or read a table, given as text. */
const queryFunctions = [
  'query_to_xml',
  'query_to_xmlschema',
  'query_to_xml_and_xmlschema',
  'table_to_xml',
  'table_to_xml_and_xmlschema',
  'schema_to_xml',
  'schema_to_xml_and_xmlschema',
  'database_to_xml',
  'database_to_xml_and_xmlschema',
  'cursor_to_xml',
  'ts_stat',
  'ts_rewrite',
]

/** What these leave behind, DISCARD ALL does not remove. */
const stickyFunctions = new Set(['setseed', 'pg_replication_origin_session_setup'])

const repeatable = new Set([...repeatableFunctions, ...sessionFunctions, ...observingFunctions])

/** Enough for tens of thousands of tables and functions. */
const factRowsMax = 1_000_000

/** Reads the names. @throws FleetError as the connection does */
export async function loadSchemaFacts(
  connection: ServerConnection,
  signal: AbortSignal,
): Promise<SchemaFacts> {
  const bounds = { rowsMax: factRowsMax, bytesMax: factRowsMax * 64, signal }
  const { rows } = await query(connection, factsSql, [], bounds)
  const byKind = new Map<string, Set<string>>()
  const domains = new Map<number, number>()
  const widths = new Map<string, number>()
  const doubleNames = new Map<string, string>()
  const allocatedKeys = new Map<string, AllocatedKey[]>()
  for (const [kind = '', name, detail] of rows as readonly (readonly string[])[]) {
    if (kind === 'domain') domains.set(Number(name), Number(detail))
    else if (kind === 'double') doubleNames.set(name ?? '', detail ?? '')
    else if (kind === 'allocated') noteAllocated(allocatedKeys, name ?? '', detail ?? '')
    else if (kind.startsWith('width:')) narrow(widths, widthKey(name ?? '', detail ?? ''), kind)
    else byKind.set(kind, (byKind.get(kind) ?? new Set()).add(name ?? ''))
  }
  const names = (kind: string): ReadonlySet<string> => byKind.get(kind) ?? new Set()
  const volatile = names('volatile')
  const users = names('function')
  return {
    safeFunctions: without(names('steady'), [volatile, users, new Set(sessionFunctions)]),
    aggregates: names('aggregate'),
    cleanFunctions: new Set([...without(new Set(tidyFunctions), [users]), ...without(names('own'), [users])]),
    readingFunctions: new Set([...names('reading'), ...queryFunctions]),
    unsafeNames: new Set([...volatile, ...users]),
    unsafeOperators: names('operator'),
    readingOperators: names('reading operator'),
    ownEquality: names('equality'),
    freeSequences: names('sequence'),
    userTypes: names('type'),
    readableTables: names('readable'),
    plainTables: names('plain'),
    countingTables: names('counting'),
    indirectTables: names('indirect'),
    systemTables: without(names('system'), [names('indirect')]),
    doubleNames,
    domains,
    widths,
    allocatedKeys,
    implicitCode: names('implicit').size > 0,
  }
}

/** Of tables that have one name the narrowest column counts. */
function narrow(widths: Map<string, number>, key: string, kind: string): void {
  widths.set(key, Math.min(Number(kind.slice('width:'.length)), widths.get(key) ?? Infinity))
}

/** Primary keys without such a column are not kept. */
function noteAllocated(keys: Map<string, AllocatedKey[]>, table: string, detail: string): void {
  const { columns, primary } = JSON.parse(detail) as { columns: string[] | null; primary: string[] }
  if (columns !== null) keys.set(table, [...(keys.get(table) ?? []), { columns, primary }])
}

const without = (names: ReadonlySet<string>, others: readonly ReadonlySet<string>[]): ReadonlySet<string> =>
  new Set([...names].filter((name) => !others.some((other) => other.has(name))))

/** True when the statement only reads, and nothing it names can wait on a lock, write, or tell sessions apart. */
export function mayShareLane(statement: StatementFacts, facts: SchemaFacts): boolean {
  return (
    statement.kind === 'read' &&
    !statement.explained &&
    statement.tables.every((use) => facts.readableTables.has(use.name)) &&
    statement.functions.every((name) => facts.safeFunctions.has(name)) &&
    namesNoCode(statement, facts)
  )
}

/** True unless the statement surely changes nothing, so that it may be sent again when its outcome is unknown. */
export function mayWrite(statement: StatementFacts, facts: SchemaFacts): boolean {
  if (statement.kind !== 'read') return true
  return !statement.explained && !surelyReads(statement, facts)
}

/** True for a read that runs nothing but what only computes, on tables that are read as they are. */
export function surelyReads(statement: StatementFacts, facts: SchemaFacts): boolean {
  return (
    statement.kind === 'read' &&
    statement.tables.every((use) => readsPlainly(use, facts)) &&
    statement.functions.every((name) => facts.safeFunctions.has(name) || isRepeatable(name, facts)) &&
    namesNoCode(statement, facts)
  )
}

const isRepeatable = (name: string, facts: SchemaFacts): boolean =>
  repeatable.has(name) && facts.cleanFunctions.has(name)

/** No operator, type, cast or field of the statement runs code of the user's. */
function namesNoCode(statement: StatementFacts, facts: SchemaFacts): boolean {
  return (
    !facts.implicitCode &&
    !statement.fields.some((name) => facts.unsafeNames.has(name)) &&
    !statement.operators.some((name) => facts.unsafeOperators.has(name)) &&
    !statement.types.some((name) => facts.userTypes.has(name))
  )
}

const readsPlainly = (use: TableUse, facts: SchemaFacts): boolean =>
  facts.readableTables.has(use.name) || facts.systemTables.has(use.name)

/**
 * What the statement may leave in its session that can't be seen: settings, locks and temporary objects, which
 * DISCARD ALL removes (`state`), or more than that (`more`).
 */
export function leftBy(statement: StatementFacts, facts: SchemaFacts): 'nothing' | 'state' | 'more' {
  if (statement.functions.some((name) => stickyFunctions.has(name))) return 'more'
  const reads = statement.kind === 'read' || statement.kind === 'locking'
  const leaves =
    statement.kind === 'opaque' ||
    statement.kind === 'ddl' ||
    facts.implicitCode ||
    !statement.tables.every((use) => (reads ? readsPlainly(use, facts) : facts.plainTables.has(use.name))) ||
    !statement.functions.every((name) => facts.safeFunctions.has(name) || facts.cleanFunctions.has(name)) ||
    statement.fields.some((name) => facts.unsafeNames.has(name) && !facts.cleanFunctions.has(name)) ||
    statement.operators.some((name) => facts.unsafeOperators.has(name))
  return leaves ? 'state' : 'nothing'
}

/** What of the statement may read tables which it does not name, a function or an operator; null for nothing. */
export function readerIn(statement: StatementFacts, facts: SchemaFacts): string | null {
  const named = [...statement.functions, ...statement.fields].find((name) => facts.readingFunctions.has(name))
  if (named !== undefined) return `function ${named}`
  const operator = statement.operators.find((name) => facts.readingOperators.has(name))
  return operator === undefined ? null : `operator ${operator}`
}
