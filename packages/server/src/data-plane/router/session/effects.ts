// What the commands of a client do to its session: which are answered by the router, which bind the session to its
// connection, and what changes in the session when a server has carried one out.
import { FleetError } from '@fleetshard/core'
import type { Command, StatementFacts, TransactionModes } from '@fleetshard/routing/plan'
import type { SchemaFacts, SessionSettings } from '@fleetshard/routing/execute'
import { isOwnVariable, refuseSetting } from './variables.ts'

/** A command that no server is asked about. */
export type OwnCommand =
  | {
      readonly kind: 'set-own'
      readonly name: string
      readonly value: string | null
      readonly local: boolean
    }
  | { readonly kind: 'show-own'; readonly name: string }
  | { readonly kind: 'explain-route' }
  | { readonly kind: 'deallocate'; readonly name: string | null }

/** The command as the router answers it; null when it is a server's. */
export function ownCommandOf(command: Command): OwnCommand | null {
  switch (command.kind) {
    case 'set':
      if (!isOwnVariable(command.name)) return null
      return {
        kind: 'set-own',
        name: command.name,
        value: command.values === null ? null : command.values.join(', '),
        local: command.local,
      }
    case 'reset':
      if (command.name === null || !isOwnVariable(command.name)) return null
      return { kind: 'set-own', name: command.name, value: null, local: false }
    case 'show':
      return isOwnVariable(command.name) ? { kind: 'show-own', name: command.name } : null
    case 'explain':
      return command.route ? { kind: 'explain-route' } : null
    case 'deallocate':
      return { kind: 'deallocate', name: command.name }
    default:
      return null
  }
}

/**
 * What must not reach a shard over this surface at all.
 * @throws FleetError `statement_refused`
 */
export function refuseCommand({ command }: StatementFacts, isSharded: boolean): void {
  switch (command.kind) {
    case 'set':
      refuseSetting(command.name, command.values?.[0] ?? null)
      return
    case 'prepare':
    case 'execute':
      if (!isSharded) return
      throw refused(
        `${command.kind.toUpperCase()} as a statement does not tell its shard`,
        'prepare by the protocol, as drivers do: a shard is chosen at each execution',
      )
    case 'prepare-transaction':
    case 'commit-prepared':
    case 'rollback-prepared':
      if (!isSharded) return
      throw refused("two-phase commit is the router's own affair", 'use BEGIN and COMMIT')
    case 'copy':
      if (command.end === 'client' || !isSharded) return
      throw refused('COPY with a file or a program of the server', 'use COPY FROM STDIN or COPY TO STDOUT')
    default:
  }
}

const refused = (reason: string, hint: string): FleetError =>
  new FleetError('statement_refused', reason, { hint })

/** Functions that leave a lock in the session. */
const sessionLocks = /^pg_(try_)?advisory_lock(_shared)?$/

/**
 * True when the statement leaves something in its connection that only this session may find there, and that cannot
 * be put into another one: temporary objects, advisory locks, LISTEN, cursors that outlive their transaction, SQL's
 * own prepared statements, and whatever code of the user's may have left. What triggers leave is not among it: it is
 * removed when the transaction is over.
 */
export function bindsSession(statement: StatementFacts, schema: SchemaFacts): boolean {
  switch (statement.command.kind) {
    case 'temporary':
    case 'listen':
    case 'prepare':
    case 'load':
    case 'do':
    case 'call':
      return true
    case 'declare':
      return statement.command.hold
    case 'set':
      return statement.command.name === 'session_authorization' && !statement.command.local
    default:
  }
  if (statement.kind === 'ddl') return false
  return (
    statement.functions.some((name) => sessionLocks.test(name) || isUnclean(name, schema)) ||
    statement.fields.some((name) => schema.unsafeNames.has(name) && !schema.cleanFunctions.has(name)) ||
    statement.operators.some((name) => schema.unsafeOperators.has(name))
  )
}

const isUnclean = (name: string, { safeFunctions, cleanFunctions }: SchemaFacts): boolean =>
  !safeFunctions.has(name) && !cleanFunctions.has(name)

/** Commands that do not tie a transaction to the shard they happen to run on, and can be done again on another one. */
export function isRepeatable(command: Command): boolean {
  switch (command.kind) {
    case 'set':
    case 'reset':
    case 'set-transaction':
    case 'savepoint':
    case 'release':
    case 'rollback-to':
    case 'show':
      return true
    default:
      return false
  }
}

/** Functions that any server answers alike at any time. */
const timelessFunctions = new Set(['version', 'current_schemas'])

/**
 * True for a query of constants, as drivers and pools send it to see whether the connection is there. Within a
 * transaction now() is one time, and a cast may read it too ('now'::timestamptz): it must not change by a move.
 */
export const isTimeless = ({ tables, functions, types, hasValueFunctions }: StatementFacts): boolean =>
  tables.length === 0 &&
  types.length === 0 &&
  !hasValueFunctions &&
  functions.every((name) => timelessFunctions.has(name))

/** The settings after a SET or RESET of the session has been carried out; `startup` are those it began with. */
export function settingsAfter(
  command: Command,
  { settings, startup, text }: { settings: SessionSettings; startup: SessionSettings; text: string },
): SessionSettings {
  if (command.kind === 'discard') return command.what === 'all' ? startup : settings
  if (command.kind === 'set-transaction')
    return command.session ? withModes(settings, command.modes) : settings
  if (command.kind === 'set' && !command.local) {
    if (command.values === null && !command.fromCurrent) return resetOne(settings, startup, command.name)
    return settings.with(command.name, statementOf(text))
  }
  if (command.kind === 'reset') {
    return command.name === null ? keepRole(settings, startup) : resetOne(settings, startup, command.name)
  }
  return settings
}

/** What SET SESSION CHARACTERISTICS AS TRANSACTION sets. */
function withModes(settings: SessionSettings, modes: TransactionModes): SessionSettings {
  const onOff = (value: boolean | null): string | null => (value === null ? null : value ? 'on' : 'off')
  const values = {
    default_transaction_isolation: modes.isolation,
    default_transaction_read_only: onOff(modes.readOnly),
    default_transaction_deferrable: onOff(modes.deferrable),
  }
  let changed = settings
  for (const [name, value] of Object.entries(values))
    if (value !== null) changed = changed.with(name, `set ${name} = '${value}'`)
  return changed
}

/** RESET ALL leaves the role. */
function keepRole(settings: SessionSettings, startup: SessionSettings): SessionSettings {
  const role = settings.get('role')
  return role === undefined ? startup : startup.with('role', role)
}

function resetOne(settings: SessionSettings, startup: SessionSettings, name: string): SessionSettings {
  const first = startup.get(name)
  return first === undefined ? settings.without(name) : settings.with(name, first)
}

/** One statement without the semicolon and the blanks at its end. */
const statementOf = (text: string): string => text.trim().replace(/;\s*$/, '')
