// The messages of the extended protocol up to the next Sync or Flush, with the client's names looked up as they come.
import { isUtf8 } from 'node:buffer'
import { FleetError, toFleetError, type ShardMap } from '@fleetshard/core'
import { refuseUnprotected } from '@fleetshard/routing/plan'
import {
  decodeFrontend,
  frontendCode,
  messageHeaderBytes,
  protocolViolation,
} from '@fleetshard/routing/pgwire'
import { BindMessage } from './bind-message.ts'
import type { ClientStatement, GroupItem } from './group-items.ts'
import type { SessionState } from './session-state.ts'
import type { WireStatements } from './wire-statements.ts'

/** Bytes of messages of one group above which what is there is run before the Sync comes. */
const groupBytesMax = 4 * 1024 * 1024

/** Statements, and portals, that one client may have at a time. */
const namesMax = 10_000

/** Execute of the portal without a name: its header, a zero byte, the limit of rows. */
const unnamedExecuteBytes = messageHeaderBytes + 5

/** The byte by which Close speaks of a statement. */
const statementObject = 'S'.charCodeAt(0)

/** A group as it was sent. */
export interface CollectedGroup {
  readonly items: readonly GroupItem[]
  /** What is wrong with the one behind them, in the words of Postgres; null for nothing. */
  readonly failure: FleetError | null
}

/** Collects one group after the other. */
export class GroupCollector {
  readonly #state: SessionState
  readonly #statements: WireStatements
  #items: GroupItem[] = []
  #bytes = 0
  #failure: FleetError | null = null
  #mustRun = false
  /** A statement or a portal is there that may be made by what names stand for now. */
  #readsNames = false

  constructor(state: SessionState, statements: WireStatements) {
    this.#state = state
    this.#statements = statements
  }

  get isEmpty(): boolean {
    return this.#items.length === 0 && this.#failure === null
  }

  /** True when the group should not wait for its Sync any more. */
  get isFull(): boolean {
    return this.#bytes > groupBytesMax
  }

  /**
   * True when that message waits for the answer to what is there: behind a command that may change what names stand for,
   * and where it does so itself behind a statement or a portal that is made by them.
   */
  waits(type: number, buf: Buffer, start: number): boolean {
    return this.#mustRun || (this.#readsNames && namesStatement(type, buf, start + messageHeaderBytes))
  }

  /** What was collected; the next group begins. */
  take(): CollectedGroup {
    const group = { items: this.#items, failure: this.#failure }
    this.#items = []
    this.#bytes = 0
    this.#failure = null
    this.#mustRun = false
    this.#readsNames = false
    return group
  }

  /** The items from that one on were not carried out: the names that they have changed stand for what they did before. */
  undo(items: readonly GroupItem[], from: number): void {
    const { statements, portals } = this.#state
    for (const item of items.slice(from).toReversed()) {
      switch (item.kind) {
        case 'parse':
          // One without a name has taken away the one before, whatever became of it, once it was looked at.
          restore(statements, item.name, item === items[from] ? undefined : item.was)
          break
        case 'bind':
          restore(portals, item.bind.portal, item.was)
          break
        case 'close-statement':
          if (item.use !== null) statements.set(item.name, item.use)
          break
        case 'close-portal':
          restore(portals, item.portal, item.was)
          break
        default:
      }
    }
  }

  /** @throws FleetError `protocol_violation` for a message that has no place in a group */
  add(type: number, buf: Buffer, start: number, end: number): void {
    // A server passes over all that comes behind an error.
    if (this.#failure !== null) return
    this.#bytes += end - start
    // It outlives this read where its Sync comes later.
    if (type === frontendCode.bind)
      this.#bind(new BindMessage(Buffer.from(buf.subarray(start, end)), 0, end - start))
    else this.#other(type, buf, start, end)
  }

  #bind(bind: BindMessage): void {
    const use = this.#state.statements.get(bind.statement)
    if (use === undefined) {
      this.#failure = noStatement(bind.statement)
      return
    }
    if (this.#state.portals.size >= namesMax) {
      this.#failure = tooMany('portals')
      return
    }
    use.statement.uses += 1
    const was = this.#state.portals.get(bind.portal)
    this.#state.portals.set(bind.portal, use)
    this.#items.push({ kind: 'bind', bind, use, was })
    if (use.statement.changesNames) this.#readsNames = true
  }

  #other(type: number, buf: Buffer, start: number, end: number): void {
    // Most clients execute and describe the portal without a name.
    const isUnnamed = end - start === unnamedExecuteBytes && buf[start + messageHeaderBytes] === 0
    if (type === frontendCode.execute && isUnnamed) {
      this.#execute('', buf.readInt32BE(end - 4))
      return
    }
    const message = decodeFrontend(type, buf, start, end)
    switch (message.kind) {
      case 'parse':
        this.#parse(message, buf, start)
        return
      case 'describe': {
        const { name } = message
        if (message.object === 'P') {
          const use = this.#portal(name)
          if (use !== null) this.#items.push({ kind: 'describe-portal', portal: name, use: use.statement })
          return
        }
        const use = this.#state.statements.get(name)
        if (use === undefined) this.#failure = noStatement(name)
        else this.#items.push({ kind: 'describe-statement', use })
        return
      }
      case 'execute':
        this.#execute(message.portal, message.rowsMax)
        return
      case 'close':
        this.#close(message.object, message.name)
        return
      default:
        throw protocolViolation(`a message of the type ${String(type)} is not expected here`)
    }
  }

  #parse(
    {
      name,
      text,
      paramTypes,
    }: { readonly name: string; readonly text: string; readonly paramTypes: readonly number[] },
    buf: Buffer,
    start: number,
  ): void {
    const { statements } = this.#state
    const isTaken = name !== '' && statements.has(name)
    try {
      if (statements.size >= namesMax) throw tooMany('prepared statements')
      refuseText(text, this.#state.map, buf, buf.indexOf(0, start + messageHeaderBytes) + 1)
    } catch (error) {
      this.#failure = toFleetError(error)
      return
    }
    const use: ClientStatement = {
      statement: this.#statements.get(text, paramTypes),
      name,
      isOnServer: false,
      generation: this.#statements.generation,
      shape: null,
    }
    if (isTaken) {
      this.#items.push({ kind: 'parse-taken', use })
      this.#failure = twice(name)
      return
    }
    const was = statements.get(name)
    statements.set(name, use)
    this.#items.push({ kind: 'parse', name, use, was })
    if (use.statement.changesNames) this.#readsNames = true
  }

  #execute(portal: string, rowsMax: number): void {
    const use = this.#portal(portal)
    if (use === null) return
    this.#items.push({ kind: 'execute', portal, rowsMax, use: use.statement })
    if (use.statement === null || use.statement.statement.changesNames) this.#mustRun = true
  }

  /** What the portal was made from, null where only the server may know it; null for one that cannot be there. */
  #portal(name: string): { readonly statement: ClientStatement | null } | null {
    const statement = this.#state.portals.get(name) ?? null
    if (statement !== null || this.#state.held !== null) return { statement }
    this.#failure = new FleetError('invalid_request', `portal "${name}" does not exist`, {
      sqlstate: '34000',
    })
    return null
  }

  #close(object: 'S' | 'P', name: string): void {
    if (object === 'S') {
      const use = this.#state.statements.get(name) ?? null
      this.#state.statements.delete(name)
      this.#items.push({ kind: 'close-statement', name, use })
    } else {
      const was = this.#state.portals.get(name)
      this.#state.portals.delete(name)
      this.#items.push({ kind: 'close-portal', portal: name, was })
    }
  }
}

/** True for a Parse or a Close of a statement that has a name. */
function namesStatement(type: number, buf: Buffer, at: number): boolean {
  if (type === frontendCode.parse) return buf[at] !== 0
  return type === frontendCode.close && buf[at] === statementObject && buf[at + 1] !== 0
}

function restore(uses: Map<string, ClientStatement>, name: string, was: ClientStatement | undefined): void {
  if (was === undefined) uses.delete(name)
  else uses.set(name, was)
}

const noStatement = (name: string): FleetError =>
  new FleetError(
    'invalid_request',
    name === '' ? 'unnamed prepared statement does not exist' : `prepared statement "${name}" does not exist`,
    { sqlstate: '26000' },
  )

const twice = (name: string): FleetError =>
  new FleetError('invalid_request', `prepared statement "${name}" already exists`, { sqlstate: '42P05' })

const tooMany = (what: string): FleetError =>
  new FleetError('overloaded', `the session has ${String(namesMax)} ${what}`, {
    hint: 'close those that are not needed any more, or use another connection',
  })

/**
 * A text that is not UTF-8 would reach the server with other characters in place of its bytes.
 * @param bytes that the text, with a zero behind it, begins at `start` of
 * @throws FleetError with the SQLSTATE that Postgres has for such a text
 */
function refuseBadText(text: string, bytes: Buffer, start: number): void {
  if (!text.includes('\ufffd') || isUtf8(bytes.subarray(start, bytes.indexOf(0, start)))) return
  throw new FleetError(
    'invalid_request',
    'invalid byte sequence for encoding "UTF8" in the text of a statement',
    {
      sqlstate: '22021',
      hint: 'send UTF-8',
    },
  )
}

/** What must not be run, by the text alone. @throws as `refuseBadText` and `refuseUnprotected` */
export function refuseText(text: string, map: ShardMap, bytes: Buffer, start: number): void {
  refuseBadText(text, bytes, start)
  refuseUnprotected(text, map)
}

/** The text of a Query, which ends with the message. @throws FleetError `protocol_violation` */
export function queryText(buf: Buffer, start: number, end: number): string {
  if (buf[end - 1] !== 0) throw protocolViolation('a text without its end')
  return buf.toString('utf8', start + messageHeaderBytes, end - 1)
}
