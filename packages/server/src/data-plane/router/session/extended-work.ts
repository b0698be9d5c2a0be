// A group of the extended protocol as work: what a server does of it, and what the router answers itself.
import { FleetError } from '@fleetshard/core'
import {
  backendCode,
  writeBare,
  writeCommandComplete,
  writeNoParameters,
  writeTextColumns,
  writeTextRow,
} from '@fleetshard/routing/pgwire'
import type { KnownStatement } from '@fleetshard/routing/plan'
import { lexQuery, noTarget } from '@fleetshard/routing/plan'
import {
  GroupEncoder,
  built,
  clientNameOf,
  ownAnswer,
  type ClientStatement,
  type GroupItem,
} from './group-items.ts'
import { ownCommandOf } from './effects.ts'
import { ownResultOf, type OwnResult } from './own-commands.ts'
import type { Use } from './plan-use.ts'
import type { Unready } from './prepare.ts'
import { inFailedTransaction, type SessionState } from './session-state.ts'
import { inClientsNames } from './told-error.ts'
import type { Executed, Work } from './work.ts'

/** A group ready to be run or answered. */
export interface ExtendedWork {
  /** Null when no server is asked. */
  readonly work: Work | null
  /** The router's answers, in order, when no server is asked. */
  readonly own: readonly Buffer[]
  /** The work is of the items in front of one that fails by the router's word; null where none does. */
  readonly failure: Unready | null
}

/** What the router says itself, and uses of portals that a server has to be told of first. */
interface Answers {
  readonly own: ReadonlyMap<GroupItem, Buffer>
  readonly unbound: ReadonlySet<GroupItem>
}

const nothingOwn: Answers = { own: new Map(), unbound: new Set() }
const nobodyAnswers: readonly Buffer[] = []

/** True for what surely is no command of the router's own. */
function isForServer(item: GroupItem): boolean {
  if (item.kind === 'close-statement' || item.kind === 'close-portal' || item.use === null) return false
  return item.use.statement.known?.facts.command.kind === 'rows'
}

const knownOf = ({ statement }: ClientStatement): KnownStatement => {
  if (statement.known === null) throw new FleetError('internal', 'a statement is not analysed yet')
  return statement.known
}

/** Makes work of the messages. Commands of the router's own take effect here. @throws FleetError of one of them */
export function extendedWork(state: SessionState, items: readonly GroupItem[]): ExtendedWork {
  // The way of most groups.
  if (state.ownPortals.size === 0 && items.every(isForServer))
    return { work: workOf(state, items, nothingOwn), own: nobodyAnswers, failure: null }
  const executions = items.flatMap((item) => (item.kind === 'execute' ? [item.use?.statement] : []))
  const results = new Map<ClientStatement['statement'], OwnResult | null>()
  const resultOf = (use: ClientStatement): OwnResult | null => {
    const { statement } = use
    let result = results.get(statement)
    if (result === undefined) {
      const isFirst = executions[0] === undefined || executions[0] === statement
      const place = executions.length <= 1 ? 'alone' : isFirst ? 'first' : 'later'
      result = ownResultOf(state, { known: knownOf(use), text: statement.text, place })
      results.set(statement, result)
    }
    return result
  }
  const own = new Map<GroupItem, Buffer>()
  const unbound = new Set<GroupItem>()
  let isBehind = false
  for (const [ready, item] of items.entries()) {
    // It holds for what comes after it, and belongs behind a BEGIN or a SAVEPOINT also for a rollback.
    if (isBehind && isOfOwnSet(item))
      return {
        ...answeredBy(state, items.slice(0, ready), { own, unbound }),
        failure: { ready, error: null },
      }
    try {
      const answer = ownFor(state, item, { resultOf, unbound })
      if (answer !== null) own.set(item, answer)
      else isBehind ||= item.kind === 'execute'
    } catch (error) {
      return { ...answeredBy(state, items.slice(0, ready), { own, unbound }), failure: { ready, error } }
    }
  }
  return { ...answeredBy(state, items, { own, unbound }), failure: null }
}

/** It is part of what changes a setting of the router's own. */
const isOfOwnSet = (item: GroupItem): boolean =>
  item.kind !== 'close-statement' &&
  item.kind !== 'close-portal' &&
  item.use !== null &&
  ownCommandOf(knownOf(item.use).facts.command)?.kind === 'set-own'

function answeredBy(
  state: SessionState,
  items: readonly GroupItem[],
  { own, unbound }: Answers,
): Pick<ExtendedWork, 'work' | 'own'> {
  if (items.every((item) => own.has(item) || isForgotten(item)))
    return { work: null, own: items.map((item) => own.get(item) ?? ownAnswer.close) }
  return { work: workOf(state, items, { own, unbound }), own: [] }
}

/** The Sync of a group of which a server has had the rest already, behind answers of the router's own. */
export function syncOf(own: readonly Buffer[]): Work {
  return {
    uses: [],
    executed: [],
    isPlain: false,
    isFresh: () => false,
    fingerprint: '',
    group: () => ({
      wantsTags: false,
      encode: (out, end) => {
        end(out)
        return own
      },
    }),
  }
}

/** The router closes what only it knows by that name. */
const isForgotten = (item: GroupItem): boolean =>
  item.kind === 'close-statement' && item.use?.isOnServer !== true

interface Answering {
  readonly resultOf: (use: ClientStatement) => OwnResult | null
  /** Gets uses of portals that have become a server's since they were bound. */
  readonly unbound: Set<GroupItem>
}

/** @throws FleetError in the words of Postgres for what it would refuse, and of the command */
function ownFor(state: SessionState, item: GroupItem, { resultOf, unbound }: Answering): Buffer | null {
  if (item.kind === 'close-statement' || item.kind === 'close-portal' || item.use === null) return null
  if (item.kind === 'parse-taken') return null
  if (item.kind === 'execute' || item.kind === 'describe-portal') {
    const own = state.ownPortals.get(item.portal)
    if (own === undefined) return null
    const answer = ofPortal(state, { item, own, result: resultOf(item.use) })
    if (answer === null) {
      state.ownPortals.delete(item.portal)
      unbound.add(item)
    }
    return answer
  }
  const result = resultOf(item.use)
  if (item.kind === 'bind') return bound(state, item, result)
  if (result === null) return null
  switch (item.kind) {
    case 'parse':
      return ownAnswer.parse
    case 'describe-statement':
      return built((out) => {
        writeNoParameters(out)
        describe(out, result)
      })
  }
}

function bound(
  { ownPortals }: SessionState,
  item: Extract<GroupItem, { kind: 'bind' }>,
  result: OwnResult | null,
): Buffer | null {
  const { portal } = item.bind
  if (portal !== '' && (ownPortals.has(portal) || (result !== null && item.was !== undefined))) {
    throw new FleetError('invalid_request', `cursor "${portal}" already exists`, { sqlstate: '42P03' })
  }
  if (result === null) {
    ownPortals.delete(portal)
    return null
  }
  if (result.tag !== 'EXPLAIN') refuseParameters(item)
  ownPortals.set(portal, { isRun: false })
  return ownAnswer.bind
}

/** Null for one that has become a server's: it is bound there first. */
function ofPortal(
  state: SessionState,
  {
    item,
    own,
    result,
  }: {
    readonly item: Extract<GroupItem, { kind: 'execute' | 'describe-portal' }>
    readonly own: { isRun: boolean }
    readonly result: OwnResult | null
  },
): Buffer | null {
  const { portal } = item
  if (item.kind === 'execute' && own.isRun && (result === null || result.columns === null)) {
    if (state.status === 'E') throw inFailedTransaction()
    throw new FleetError('invalid_request', `portal "${portal}" cannot be run`, { sqlstate: '55000' })
  }
  if (result === null) return state.status === 'E' || own.isRun ? leftOf(item) : null
  if (item.kind === 'describe-portal') {
    return built((out) => {
      describe(out, result)
    })
  }
  const { isRun } = own
  own.isRun = true
  return executed(result, { rowsMax: item.rowsMax, isRun })
}

/**
 * What is left of a portal in a transaction that has failed, or once it was run: a command of the router's own stays so;
 * null for what a server knows by now.
 * @throws FleetError for one that is executed, or has rows
 */
function leftOf({ kind, use }: Extract<GroupItem, { kind: 'execute' | 'describe-portal' }>): Buffer | null {
  const command = use === null ? null : ownCommandOf(knownOf(use).facts.command)
  if (command === null) return null
  const hasRows = command.kind === 'show-own' || command.kind === 'explain-route'
  if (kind === 'execute' || hasRows) throw inFailedTransaction()
  return ownAnswer.noData
}

/** Commands have no parameters. */
function refuseParameters({ bind, use }: Extract<GroupItem, { kind: 'bind' }>): void {
  const count = bind.parameterCount
  if (count === 0) return
  throw new FleetError(
    'invalid_request',
    `bind message supplies ${String(count)} parameters, but prepared statement "${use.name}" requires 0`,
    { sqlstate: '08P01' },
  )
}

type Out = Parameters<Parameters<typeof built>[0]>[0]

function describe(out: Out, { columns }: OwnResult): void {
  if (columns === null) writeBare(out, backendCode.noData)
  else writeTextColumns(out, columns)
}

/** What Execute is answered: rows, and the end of the command. */
function executed(
  result: OwnResult,
  { rowsMax, isRun }: { readonly rowsMax: number; readonly isRun: boolean },
): Buffer {
  return built((out) => {
    if (!isRun) {
      result.run(out)
      for (const row of result.rows) writeTextRow(out, row)
    }
    if (!isRun && rowsMax > 0 && result.rows.length === rowsMax) writeBare(out, backendCode.portalSuspended)
    else writeCommandComplete(out, result.tag)
  })
}

function workOf(state: SessionState, items: readonly GroupItem[], { own, unbound }: Answers): Work {
  const uses: Use[] = []
  const done: Executed[] = []
  let isPlain = true
  for (const item of items) {
    if (own.has(item)) continue
    if (item.kind === 'bind') uses.push(useOf(item, state))
    else if (item.kind === 'execute') {
      if (item.use !== null) done.push({ known: knownOf(item.use), text: item.use.statement.text })
      if (item.rowsMax !== 0 || item.portal !== '') isPlain = false
    } else if (item.kind === 'close-portal') isPlain = false
  }
  return {
    uses,
    executed: done,
    isPlain: isPlain && done.length === 1 && uses.length === 1 && own.size === 0,
    isFresh: () =>
      uses.every(({ wire }) => items.some((item) => item.kind === 'parse' && item.use.statement === wire)),
    fingerprint: fingerprintOf(items),
    group: (statements, parsed, traceparent) => ({
      wantsTags: done.some(({ known }) => known.facts.command.kind !== 'rows'),
      encode(out, end) {
        const { generation } = state.environment.wireStatements
        const isFailed = state.held?.session.connection.transactionStatus === 'failed'
        const knowing = { statements, parsed, generation, isFailed, unbound, traceparent }
        const encoder = new GroupEncoder(out, knowing)
        return encoder.encode(items, own, end)
      },
      told: (error, _sqlstate, answered) =>
        inClientsNames(error, (name) => clientNameOf(items[answered], statements, name)),
    }),
  }
}

/** Of the first statement that is executed. */
function fingerprintOf(items: readonly GroupItem[]): string {
  const executed = items.find((item) => item.kind === 'execute')
  const statement = executed?.use?.statement
  if (statement === undefined) return ''
  statement.fingerprint ??= lexQuery(statement.text)[0]?.key ?? ''
  return statement.fingerprint
}

function useOf({ bind, use }: Extract<GroupItem, { kind: 'bind' }>, state: SessionState): Use {
  const { statement } = use
  const { described } = statement
  const isTold = described !== null && described.settings === state.settings.key
  return {
    known: knownOf(use),
    text: statement.text,
    literals: null,
    hint: noTarget,
    bind,
    types: isTold ? described.types : statement.paramTypes,
    wire: statement,
  }
}
