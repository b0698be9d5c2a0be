// Preflight: what is to be moved from a source, and everything that stands against it, with its remedy.
import { createHash } from 'node:crypto'
import type { TableRecord } from '@fleetshard/core'
import {
  keysTable,
  type InspectedSource,
  type MovedTable,
  type Obstacle,
  type PlacedBy,
} from '../../reshard-engine.ts'
import type { TableFacts } from '../../schema-facts.ts'
import { shapeDifference } from '../../table-shape.ts'
import { describeTables } from '../describe.ts'
import { hasSqlstate } from '../errors.ts'
import { findRows } from '../fence.ts'
import type { Session } from '../session.ts'
import { quoteTableName } from '../names.ts'

const versionMin = 140_000

interface SourceRow {
  readonly version: number
  readonly wal_level: string
  readonly may_replicate: boolean
  readonly slots_free: number
  readonly senders_free: number
  readonly prepared: number
  readonly large_objects: boolean
  readonly may_bypass: boolean
  readonly in_recovery: boolean
  readonly may_publish: boolean
  /** Quoted. */
  readonly database: string
  readonly login: string
}

const sourceSql = `
  select current_setting('server_version_num')::int as version, current_setting('wal_level') as wal_level,
         (select rolreplication or rolsuper from pg_roles where rolname = current_user) as may_replicate,
         current_setting('max_replication_slots')::int
           - (select count(*)::int from pg_replication_slots) as slots_free,
         current_setting('max_wal_senders')::int
           - (select count(*)::int from pg_stat_replication) as senders_free,
         (select count(*)::int from pg_prepared_xacts where database = current_database()) as prepared,
         exists (select from pg_largeobject_metadata) as large_objects,
         pg_is_in_recovery() as in_recovery,
         has_database_privilege(current_database(), 'CREATE') as may_publish,
         quote_ident(current_database()) as database, quote_ident(current_user) as login,
         (select setting_context.superuser from (select rolsuper as superuser from pg_roles where rolname = current_user) setting_context) as may_bypass`

/** See the port. */
export async function inspectSource(
  session: Session,
  records: readonly TableRecord[],
): Promise<InspectedSource> {
  const obstacles = serverObstacles((await session.query<SourceRow>(sourceSql))[0])
  const facts = await movableTables(session)
  const identities = await identitiesOf(session)
  const tables: MovedTable[] = []
  for (const record of records) {
    const found = facts.find(({ name }) => name === record.name)
    const obstacle = found === undefined ? missing(record) : tableObstacle(record, found, identities)
    if (obstacle !== null) obstacles.push(obstacle)
    else if (found !== undefined) tables.push(movedTable(record, { facts: found, all: facts, identities }))
  }
  const keys = facts.find(({ name }) => name === keysTable)
  if (keys !== undefined) tables.push(movedKeys({ facts: keys, all: facts, identities }))
  const declared = new Set([...records.map(({ name }) => name), keysTable])
  const others = facts
    .filter(({ name, kind }) => !declared.has(name) && kind !== 'foreign')
    .map(({ name }) => name)
  const filled = await findRows(session, others)
  if (filled !== null) {
    obstacles.push({
      message: `the table ${filled} holds rows and is not declared`,
      remedy: 'declare it (fleetshard table declare), or drop it',
    })
  }
  return { tables, obstacles, mayBypassTriggers: await mayBypassTriggers(session) }
}

/** Superusers may, and since PostgreSQL 15 whom it was granted. */
async function mayBypassTriggers(session: Session): Promise<boolean> {
  try {
    await session.query('set session_replication_role = replica')
  } catch (error) {
    if (hasSqlstate(error, '42501')) return false
    throw error
  }
  await session.query('reset session_replication_role')
  return true
}

/** All tables of the user's, and that of idempotency keys. */
export async function movableTables(session: Session): Promise<readonly TableFacts[]> {
  return [...(await describeTables(session)), ...(await describeTables(session, [keysTable], 'ours'))]
}

function serverObstacles(row: SourceRow | undefined): Obstacle[] {
  if (row === undefined) return []
  const checks: readonly (readonly [boolean, string, string])[] = [
    [row.version < versionMin, 'the server is older than PostgreSQL 14', 'upgrade it'],
    [row.in_recovery, 'the server is a replica', 'promote it, or correct the role of the node'],
    [
      row.wal_level !== 'logical',
      `wal_level is ${row.wal_level}`,
      'set wal_level = logical and restart the server',
    ],
    [!row.may_replicate, 'the login may not replicate', `ALTER ROLE ${row.login} REPLICATION`],
    [
      !row.may_publish,
      'the login may make no publication',
      `GRANT CREATE ON DATABASE ${row.database} TO ${row.login}`,
    ],
    [row.slots_free < 1, 'no replication slot is free', 'raise max_replication_slots, or drop a slot'],
    [row.senders_free < 1, 'no WAL sender is free', 'raise max_wal_senders'],
    [row.prepared > 0, 'a prepared transaction is open', 'end it: see pg_prepared_xacts'],
    [row.large_objects, 'the database has large objects', 'move them into a bytea column, or unlink them'],
  ]
  return checks.filter(([holds]) => holds).map(([, message, remedy]) => ({ message, remedy }))
}

interface IdentityRow {
  readonly name: string
  readonly identity: string
  readonly inherited: boolean
  readonly row_security: boolean
  /** The login is the owner, or acts as it. */
  readonly owned: boolean
  /** Quoted. */
  readonly login: string
}

async function identitiesOf(session: Session): Promise<ReadonlyMap<string, IdentityRow>> {
  const rows = await session.query<IdentityRow>(
    `select format('%I.%I', n.nspname, c.relname) as name, c.relreplident::text as identity,
            c.relhassubclass as inherited, c.relforcerowsecurity as row_security,
            pg_has_role(c.relowner, 'USAGE') as owned, quote_ident(current_user) as login
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema')`,
  )
  return new Map(rows.map((row) => [row.name, row]))
}

function missing({ name }: TableRecord): Obstacle {
  return {
    message: `the table ${name} is declared and not there`,
    remedy: 'create it, or drop its declaration',
  }
}

function tableObstacle(
  record: TableRecord,
  facts: TableFacts,
  identities: ReadonlyMap<string, IdentityRow>,
): Obstacle | null {
  const { name } = record
  const identity = identities.get(name)
  const primary = facts.uniques.find(({ kind }) => kind === 'primary')
  const checks: readonly (readonly [boolean, string, string])[] = [
    [record.kind === 'global', `${name} is a global table`, 'declare it as a reference table'],
    [
      facts.kind !== 'table' || facts.parent !== null || identity?.inherited === true,
      `${name} is partitioned or inherited`,
      'move its rows into a plain table',
    ],
    [facts.unlogged, `${name} is unlogged`, `ALTER TABLE ${name} SET LOGGED`],
    [facts.hasRules, `${name} has rules`, 'replace them by triggers'],
    [primary === undefined, `${name} has no primary key`, `ALTER TABLE ${name} ADD PRIMARY KEY (…)`],
    [
      identity?.identity !== 'd' && identity?.identity !== 'f',
      `the replica identity of ${name} is neither its primary key nor all columns`,
      `ALTER TABLE ${name} REPLICA IDENTITY DEFAULT`,
    ],
    [
      // Since PostgreSQL 18 every update of such a table fails while it is published.
      identity?.identity === 'f' && facts.columns.some(({ generated }) => generated),
      `the replica identity of ${name} is all columns, and some are generated`,
      `ALTER TABLE ${name} REPLICA IDENTITY DEFAULT`,
    ],
    [
      identity?.row_security === true,
      `row level security of ${name} is forced on its owner`,
      `ALTER TABLE ${name} NO FORCE ROW LEVEL SECURITY`,
    ],
  ]
  const found = checks.find(([holds]) => holds)
  return found === undefined ? notOwned(identity) : { message: found[1], remedy: found[2] }
}

/** Publications, fences, and taking off what is in the way of a copy are its owner's. */
function notOwned(identity: IdentityRow | undefined): Obstacle | null {
  if (identity === undefined || identity.owned) return null
  const { name, login } = identity
  return {
    message: `the login does not own ${name}`,
    remedy: `ALTER TABLE ${name} OWNER TO ${login}, or make ${login} a member of its owner`,
  }
}

type Identities = ReadonlyMap<string, IdentityRow>

interface Described {
  readonly facts: TableFacts
  /** Of all tables. */
  readonly all: readonly TableFacts[]
  readonly identities: Identities
}

function movedTable({ kind, keyColumn, keyType }: TableRecord, described: Described): MovedTable {
  const shardKey = keyColumn === null || keyType === null ? null : { column: keyColumn, type: keyType }
  return { ...movedShape(described, shardKey), kind: kind === 'sharded' ? 'sharded' : 'reference' }
}

/** The records of idempotency keys go where the keys of their statements go. */
const movedKeys = (described: Described): MovedTable =>
  movedShape(described, { column: 'shard_hash', type: 'hash' })

function movedShape(
  { facts, all, identities }: Described,
  shardKey: { readonly column: string; readonly type: PlacedBy } | null,
): MovedTable {
  const columns = facts.columns.filter(({ generated }) => !generated)
  const at = (name: string | null): number => columns.findIndex((column) => column.name === name)
  const primary = facts.uniques.find(({ kind }) => kind === 'primary')
  const primaryKey = (primary?.columns ?? []).map(at)
  const first = columns[primaryKey[0] ?? -1]
  return {
    name: facts.name,
    kind: 'sharded',
    columns: columns.map(({ name, type }) => ({ name, type })),
    primaryKey,
    shardKey: shardKey === null ? null : { column: at(shardKey.column), type: shardKey.type },
    unitsBy: unitsBy(first?.baseType),
    tellsKey:
      identities.get(facts.name)?.identity === 'f' ||
      (shardKey !== null && primaryKey.includes(at(shardKey.column))),
    isUniqueByKey:
      shardKey === null || facts.uniques.every(({ columns: keys }) => keys.includes(shardKey.column)),
    hasTriggers: facts.triggers.some(({ enabled }) => enabled),
    referencedBy: all
      .filter(({ foreignKeys }) => foreignKeys.some(({ references }) => references === facts.name))
      .map(({ name }) => name),
    signature: signatureOf(facts),
    rowsEstimate: Math.max(0, Math.round(facts.rowsEstimate ?? 0)),
    bytes: facts.bytes,
  }
}

function unitsBy(type: string | undefined): MovedTable['unitsBy'] {
  if (type === 'int2' || type === 'int4' || type === 'int8') return 'integer'
  return type === 'uuid' ? 'uuid' : 'whole'
}

/** Of what the job relies on; sequences count on, and sizes grow. */
function signatureOf({ kind, unlogged, columns, uniques, foreignKeys }: TableFacts): string {
  const shape = {
    kind,
    unlogged,
    columns: columns.map((column) => ({ ...column, sequence: column.sequence?.name ?? null })),
    uniques,
    foreignKeys,
  }
  return createHash('sha256').update(JSON.stringify(shape)).digest('hex').slice(0, 32)
}

/** The first of the tables that is not what it was; null when all are. */
export async function changedTable(session: Session, tables: readonly MovedTable[]): Promise<string | null> {
  const names = tables.map(({ name }) => name)
  const facts = [...(await describeTables(session, names)), ...(await describeTables(session, names, 'ours'))]
  const same = (table: MovedTable): boolean => {
    const found = facts.find(({ name }) => name === table.name)
    return found !== undefined && signatureOf(found) === table.signature
  }
  return tables.find((table) => !same(table))?.name ?? null
}

/** See the port. */
export async function inspectTarget(
  session: Session,
  source: readonly TableFacts[],
  tables: readonly MovedTable[],
): Promise<readonly Obstacle[]> {
  const facts = await movableTables(session)
  const identities = await identitiesOf(session)
  const obstacles: Obstacle[] = []
  for (const { name } of tables) {
    const [here, there] = [facts, source].map((list) => list.find((table) => table.name === name))
    if (here === undefined || there === undefined) {
      obstacles.push({ message: `it has no table ${name}`, remedy: 'create it there as it is on the source' })
      continue
    }
    const difference = shapeDifference(there, here, ['the source', 'the target'])
    if (difference !== null) {
      obstacles.push({
        message: `its table ${name} is not like the source's: ${difference}`,
        remedy: 'make them alike',
      })
    }
    const stranger = notOwned(identities.get(name))
    if (stranger !== null) obstacles.push(stranger)
  }
  const filled = await findRows(
    session,
    tables.map(({ name }) => name),
  )
  if (filled !== null) {
    obstacles.push({
      message: `its table ${filled} holds rows`,
      remedy: `empty it: TRUNCATE ${quoteTableName(filled)}`,
    })
  }
  return obstacles
}
