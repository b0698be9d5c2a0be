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
import { ownResultOf, type OwnResult } from './own-commands.ts'
import type { Use } from './plan-use.ts'
import type { SessionState } from './session-state.ts'
import type { Executed, Work } from './work.ts'

/** A group ready to be run or answered. */
export interface ExtendedWork {
  /** Null when no server is asked. */
  readonly work: Work | null
  /** The router's answers, in order, when no server is asked. */
  readonly own: readonly Buffer[]
}

const nothingOwn: ReadonlyMap<GroupItem, Buffer> = new Map()
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

/**
 * Makes work of the messages. Commands of the router's own take effect here.
 * @throws FleetError of a command of the router's own
 */
export function extendedWork(state: SessionState, items: readonly GroupItem[]): ExtendedWork {
  // The way of most groups.
  if (items.every(isForServer)) return { work: workOf(state, items, nothingOwn), own: nobodyAnswers }
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
  for (const item of items) {
    const answer = ownFor(item, resultOf)
    if (answer !== null) own.set(item, answer)
  }
  if (items.every((item) => own.has(item) || isForgotten(item))) {
    return { work: null, own: items.map((item) => own.get(item) ?? ownAnswer.close) }
  }
  return { work: workOf(state, items, own), own: [] }
}

/** The router closes what only it knows by that name. */
const isForgotten = (item: GroupItem): boolean =>
  item.kind === 'close-statement' && item.use?.isOnServer !== true

function ownFor(item: GroupItem, resultOf: (use: ClientStatement) => OwnResult | null): Buffer | null {
  if (item.kind === 'close-statement' || item.kind === 'close-portal' || item.use === null) return null
  const result = resultOf(item.use)
  if (result === null) return null
  switch (item.kind) {
    case 'parse':
      return ownAnswer.parse
    case 'bind':
      return ownAnswer.bind
    case 'describe-statement':
      return built((out) => {
        writeNoParameters(out)
        describe(out, result)
      })
    case 'describe-portal':
      return built((out) => {
        describe(out, result)
      })
    case 'execute':
      return executed(result)
  }
}

type Out = Parameters<Parameters<typeof built>[0]>[0]

function describe(out: Out, { columns }: OwnResult): void {
  if (columns === null) writeBare(out, backendCode.noData)
  else writeTextColumns(out, columns)
}

/** What Execute is answered: rows, and the end of the command. */
function executed(result: OwnResult): Buffer {
  return built((out) => {
    result.run(out)
    for (const row of result.rows) writeTextRow(out, row)
    writeCommandComplete(out, result.tag)
  })
}

function workOf(state: SessionState, items: readonly GroupItem[], own: ReadonlyMap<GroupItem, Buffer>): Work {
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
    group: (statements, parsed) => ({
      wantsTags: done.some(({ known }) => known.facts.command.kind !== 'rows'),
      encode(out) {
        const { generation } = state.environment.wireStatements
        const encoder = new GroupEncoder(out, { statements, parsed, generation })
        return encoder.encode(items, own)
      },
      clientNameOf: (serverName) => clientNameOf(items, statements, serverName),
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
