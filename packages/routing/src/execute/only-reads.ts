// What a caller with nothing but a grant to read may run: statements that surely only read, by their text and by what
// the database says about the names in it. Everything in doubt is refused: the connection's own user may do more.
import { FleetError } from '@fleetshard/core'
import type { StatementFacts } from '../plan/mod.ts'
import { surelyReads, type SchemaFacts } from './schema-facts.ts'

/** Of a call. */
export interface OnlyReading {
  /** True where the caller may read and nothing else. */
  readonly onlyReads?: boolean | undefined
}

/** Tables of the system with what only its superusers may see: verifiers of passwords, logins to other servers. */
const secretTables = new Set([
  'pg_authid',
  'pg_shadow',
  'pg_user_mapping',
  'pg_user_mappings',
  'pg_subscription',
  'pg_hba_file_rules',
  'pg_ident_file_mappings',
  'pg_file_settings',
])

/** Functions that may be called twice, and yet change a sequence or hold others up. */
const holdingFunctions = /^(?:nextval|pg_(?:try_)?advisory_xact_lock(?:_shared)?)$/

/** Settings that say as whom statements run. */
const identities = new Set(['role', 'session_authorization'])

const hint = 'it takes a grant to write, or a role of the databases with rights of its own'

/** Commands that concern the session alone. */
const harmless: ReadonlySet<string> = new Set([
  'begin',
  'commit',
  'rollback',
  'savepoint',
  'release',
  'rollback-to',
  'set-transaction',
  'show',
  'discard',
  'deallocate',
  'close',
])

/**
 * By the text alone. What only concerns the session is allowed: transactions, settings, the end of cursors.
 * @throws FleetError `forbidden`
 */
export function refuseWriting({ kind, command }: StatementFacts): void {
  const isRead = (command.kind === 'rows' || command.kind === 'explain') && kind === 'read'
  if (isRead || harmless.has(command.kind)) return
  const isSetting = command.kind === 'set' || command.kind === 'reset'
  if (isSetting && !identities.has(command.name ?? '')) return
  throw new FleetError('forbidden', 'a grant to read lets nobody write, lock rows or run commands', { hint })
}

/**
 * With what the database says.
 * @throws FleetError `forbidden`
 */
export function refuseMoreThanReads(statement: StatementFacts, facts: SchemaFacts): void {
  refuseWriting(statement)
  const secret = statement.tables.find(({ name }) => secretTables.has(name))
  if (secret !== undefined) {
    throw new FleetError('forbidden', `a grant to read does not include ${secret.name}`, { hint })
  }
  const { kind } = statement.command
  if (kind !== 'rows' && kind !== 'explain') return
  const holds = statement.functions.some((name) => holdingFunctions.test(name))
  if (!holds && surelyReads(statement, facts)) return
  throw new FleetError(
    'forbidden',
    'the statement names a view, or a function, operator or type whose effects cannot be seen: under a grant to read it might write',
    { hint },
  )
}
