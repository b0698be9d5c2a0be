// The commands that the router answers for a session without asking a server.
import { FleetError } from '@fleetshard/core'
import {
  writeCommandComplete,
  writeNoticeResponse,
  writeTextColumns,
  writeTextRow,
  type WireWriter,
} from '@fleetshard/routing/pgwire'
import {
  explainRoute,
  routeLines,
  targetOf,
  type KnownStatement,
  type Literals,
  type RouteTarget,
  type TransactionCommand,
} from '@fleetshard/routing/plan'
import { ownCommandOf, type OwnCommand } from './effects.ts'
import type { SessionState } from './session-state.ts'
import { keepsPrepared, preparedStatement } from './sql-prepare.ts'
import { OpenTransaction } from './transaction-state.ts'
import {
  cutName,
  lastingly,
  resetVariable,
  setVariable,
  showVariable,
  targetOfSession,
  type Variables,
} from './variables.ts'

/** The answer to one command. */
export interface OwnResult {
  /** Null for a command without rows. */
  readonly columns: readonly string[] | null
  readonly rows: readonly (readonly (string | null)[])[]
  readonly tag: string
  /** Takes effect, and says what comes before the answer. */
  readonly run: (out: WireWriter) => void
}

/** Says the answer to a Query, but for ReadyForQuery. @throws FleetError of the command */
export function writeOwnResult(writer: WireWriter, { run, columns, rows, tag }: OwnResult): void {
  run(writer)
  if (columns !== null) writeTextColumns(writer, columns)
  for (const row of rows) writeTextRow(writer, row)
  writeCommandComplete(writer, tag)
}

/** The statement, and where it stands among those that are sent with it. */
export interface OwnStatement {
  readonly known: KnownStatement
  readonly text: string
  readonly place: 'alone' | 'first' | 'later'
  /** Of a Query: its literals, and the hint in its comments. */
  readonly lexed?: { readonly literals: Literals; readonly hint: RouteTarget }
}

const nothing = (): void => undefined

/** Null for what a server has to answer. @throws FleetError of the command */
export function ownResultOf(state: SessionState, statement: OwnStatement): OwnResult | null {
  return (
    transactionResult(state, statement) ?? preparedResult(state, statement) ?? settingResult(state, statement)
  )
}

/** PREPARE of a Query, once `checkPrepare` has looked at it. */
function preparedResult(state: SessionState, { known, place, lexed }: OwnStatement): OwnResult | null {
  const { command } = known.facts
  if (command.kind !== 'prepare' || place !== 'alone' || lexed === undefined) return null
  if (!keepsPrepared(state) || state.status === 'E') return null
  const { name } = command
  const statement = preparedStatement(state, command)
  const { generation } = state.environment.wireStatements
  return tagOnly('PREPARE', () =>
    state.statements.set(name, { statement, name, isOnServer: false, generation, shape: null }),
  )
}

/** BEGIN waits for what is done in it, and what has begun nowhere is ended nowhere. */
function transactionResult(
  state: SessionState,
  { known, text, place, lexed }: OwnStatement,
): OwnResult | null {
  const { command } = known.facts
  if (place === 'later' || state.isBound) return null
  if (command.kind === 'begin') {
    // Of the messages around one of the extended protocol a server knows more; with one shard it may as well be told.
    const mayWait = lexed !== undefined || state.map.owners.length > 1
    return mayWait ? beginResult(state, command, text) : null
  }
  const isEnd = command.kind === 'commit' || command.kind === 'rollback'
  return isEnd && place === 'alone' ? endResult(state, command) : null
}

function beginResult(
  state: SessionState,
  { starts, modes }: Extract<TransactionCommand, { kind: 'begin' }>,
  text: string,
): OwnResult | null {
  const { transaction } = state
  const tag = starts ? 'START TRANSACTION' : 'BEGIN'
  if (transaction === null || !transaction.isClients) {
    if (state.isGroupOpen) return null
    return tagOnly(tag, () => {
      state.transaction = new OpenTransaction(text, state.kept)
    })
  }
  // Modes hold for the transaction that is there.
  const isBare = Object.values(modes).every((mode) => mode === null)
  if (!isBare || transaction.pin !== 'none' || transaction.failure !== null) return null
  return tagOnly(tag, warn('25001', 'there is already a transaction in progress'))
}

function endResult(
  state: SessionState,
  { kind, chain }: { readonly kind: 'commit' | 'rollback'; readonly chain: boolean },
): OwnResult | null {
  const { transaction } = state
  if (transaction?.isClients !== true) return null
  if (transaction.pin !== 'none' && transaction.failure === null) return null
  const isCommitted = kind === 'commit' && transaction.failure === null
  return tagOnly(isCommitted ? 'COMMIT' : 'ROLLBACK', () => {
    if (isCommitted) state.endLocal()
    else state.restore(transaction.before)
    state.transaction = chain ? new OpenTransaction(transaction.begin, state.kept) : null
    state.clearPortals()
    state.release()
  })
}

function settingResult(state: SessionState, statement: OwnStatement): OwnResult | null {
  const { known } = statement
  const own = ownCommandOf(known.facts.command)
  if (own === null) return null
  if (state.status === 'E') return null
  switch (own.kind) {
    case 'set-own':
      // Later statements of the same group are placed by it already.
      return tagOnly(known.facts.command.kind === 'reset' ? 'RESET' : 'SET', (out) => {
        setOwn(state, own, out)
      })
    case 'show-own':
      return {
        columns: [own.name],
        rows: [[showVariable(state.variables, own.name)]],
        tag: 'SHOW',
        run: nothing,
      }
    case 'explain-route':
      return explained(state, statement)
    case 'deallocate':
      return deallocate(state, own.name)
  }
}

/** @throws FleetError in the words of Postgres for a bad name and a bad value */
function setOwn(
  state: SessionState,
  { name, value, local }: Extract<OwnCommand, { kind: 'set-own' }>,
  out: WireWriter,
): void {
  const fallback = name === 'application_name' ? state.start.variables.applicationName : null
  const given = value ?? fallback
  const changed = (before: Variables): Variables =>
    given === null ? resetVariable(before, name) : setVariable(before, name, given)
  if (name === 'application_name' && value !== null) tellCut(out, value)
  const { current, lasting } = state.own
  // What no SET LOCAL has touched stays one object.
  if (!local)
    state.own =
      current === lasting
        ? lastingly(changed(current))
        : { current: changed(current), lasting: changed(lasting) }
  else {
    state.own = { current: changed(current), lasting }
    if (state.transaction?.isClients !== true)
      warn('25P01', 'SET LOCAL can only be used in transaction blocks')(out)
  }
}

/** As EXPLAIN gives its own lines. The values of parameters are not looked at. */
function explained({ map, variables }: SessionState, { known, lexed }: OwnStatement): OwnResult {
  const hint = lexed === undefined || lexed.hint.kind === 'none' ? known.hint : lexed.hint
  const target = targetOf(hint, targetOfSession(variables))
  const request = { params: [], literals: lexed?.literals, target }
  return {
    columns: ['QUERY PLAN'],
    rows: routeLines(explainRoute(known, map, request)).map((line) => [line]),
    tag: 'EXPLAIN',
    run: nothing,
  }
}

function deallocate(state: SessionState, name: string | null): OwnResult | null {
  const { statements } = state
  if (name === null) {
    if (state.isBound) return null
    return tagOnly('DEALLOCATE ALL', () => {
      for (const known of statements.keys()) if (known !== '') statements.delete(known)
    })
  }
  const known = statements.get(name)
  // A connection that is the session's anyway is told of the name, and knows what belongs together.
  const isServers = state.isBound && (known === undefined || !keepsPrepared(state))
  if (known?.isOnServer === true || isServers) return null
  return tagOnly('DEALLOCATE', () => {
    if (statements.delete(name)) return
    throw new FleetError('invalid_request', `prepared statement "${name}" does not exist`, {
      sqlstate: '26000',
    })
  })
}

const tagOnly = (tag: string, run: (out: WireWriter) => unknown): OwnResult => ({
  columns: null,
  rows: [],
  tag,
  run: (out) => {
    run(out)
  },
})

/** Of a name that is longer than Postgres keeps one. */
export function tellCut(out: WireWriter, name: string): void {
  const kept = cutName(name)
  if (kept === name) return
  const message = `identifier "${name}" will be truncated to "${kept}"`
  writeNoticeResponse(out, { severity: 'NOTICE', code: '42622', message })
}

const warn =
  (code: string, message: string) =>
  (out: WireWriter): void => {
    writeNoticeResponse(out, { severity: 'WARNING', code, message })
  }
