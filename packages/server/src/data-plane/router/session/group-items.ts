// The messages of the extended protocol between two Syncs, as they are kept until they can be sent, and how they are
// written for a server: with its names for statements, and with what it must learn first.
import {
  frontendCode,
  writeBare,
  writeBind,
  writeClose,
  writeDescribe,
  writeExecute,
  writeParse,
  writeSync,
  WireWriter,
  backendCode,
} from '@fleetshard/routing/pgwire'
import { withTraceparent } from '@fleetshard/routing/plan'
import type { ServerStatements } from '@fleetshard/routing/wire'
import { step, type AnswerStep } from './answer.ts'
import type { BindMessage } from './bind-message.ts'
import type { RowShape } from './row-shape.ts'
import type { GroupEnd } from './server-side.ts'
import type { WireStatement } from './wire-statements.ts'

/** A statement under a name of a client. */
export interface ClientStatement {
  readonly statement: WireStatement
  /** One that has a name is meant to be used again. */
  readonly name: string
  /** The connection that the session is bound to knows it by that name. */
  isOnServer: boolean
  /** `WireStatements.generation` when the client prepared it, or when its rows were last found to be as they were. */
  generation: number
  /** Of its rows, as the client was told; null as long as it has not asked. */
  shape: RowShape | null
}

/** One message. */
export type GroupItem =
  | {
      readonly kind: 'parse'
      readonly name: string
      readonly use: ClientStatement
      /** What had the name before; undefined for nothing. */
      readonly was: ClientStatement | undefined
    }
  /** A Parse under a name that is taken: an error, but what else is wrong with it is said first. */
  | { readonly kind: 'parse-taken'; readonly use: ClientStatement }
  | {
      readonly kind: 'bind'
      readonly bind: BindMessage
      readonly use: ClientStatement
      /** What the portal was made from before; undefined where there was none. */
      readonly was: ClientStatement | undefined
    }
  | { readonly kind: 'describe-statement'; readonly use: ClientStatement }
  | { readonly kind: 'describe-portal'; readonly portal: string; readonly use: ClientStatement | null }
  | {
      readonly kind: 'execute'
      readonly portal: string
      readonly rowsMax: number
      readonly use: ClientStatement | null
    }
  | { readonly kind: 'close-statement'; readonly name: string; readonly use: ClientStatement | null }
  | { readonly kind: 'close-portal'; readonly portal: string; readonly was: ClientStatement | undefined }

/** What the router itself says for an item, in place of a server. */
export type OwnAnswers = ReadonlyMap<GroupItem, Buffer>

const bare = (type: number): Buffer =>
  built((out) => {
    writeBare(out, type)
  })
const parseComplete = bare(backendCode.parseComplete)
const bindComplete = bare(backendCode.bindComplete)
const closeComplete = bare(backendCode.closeComplete)
const noData = bare(backendCode.noData)

/** Bytes of messages made once. */
export function built(write: (out: WireWriter) => void): Buffer {
  const out = new WireWriter()
  write(out)
  return Buffer.from(out.bytes())
}

/** A statement is kept by the servers from that use on, unless the client has named it. */
const usesBeforeKept = 2
/** Longer texts are not kept by servers, characters. */
const keptTextMax = 64 * 1024

const isKept = ({ statement, name }: ClientStatement): boolean =>
  statement.text.length <= keptTextMax && (name !== '' || statement.uses > usesBeforeKept)

/** One that has no name is prepared anew before long. */
const wantsShape = (use: ClientStatement | null): use is ClientStatement =>
  use !== null && use.name !== '' && use.shape === null

/** A name that no statement has. */
const nobodys = 'fleetshard: none'

/** Writes a group for one server connection, its end included. */
export class GroupEncoder {
  readonly #out: WireWriter
  readonly #statements: ServerStatements
  readonly #steps: AnswerStep[] = []
  /** Gets the statements that this group makes the server parse. */
  readonly #parsed: WireStatement[]
  readonly #generation: number
  readonly #isFailed: boolean
  readonly #unbound: ReadonlySet<GroupItem>
  readonly #traceparent: string | null

  constructor(
    out: WireWriter,
    knowing: {
      statements: ServerStatements
      parsed: WireStatement[]
      generation: number
      /** The transaction has failed: a server refuses what it would do otherwise. */
      isFailed: boolean
      /** Uses of portals that the server has to be told of first. */
      unbound: ReadonlySet<GroupItem>
      /** Goes with what is bound; null for none. */
      traceparent: string | null
    },
  ) {
    this.#out = out
    this.#statements = knowing.statements
    this.#parsed = knowing.parsed
    this.#generation = knowing.generation
    this.#isFailed = knowing.isFailed
    this.#unbound = knowing.unbound
    this.#traceparent = knowing.traceparent
  }

  encode(items: readonly GroupItem[], own: OwnAnswers, end: GroupEnd): readonly AnswerStep[] {
    // A Query that came over this connection since has taken it away.
    this.#statements.forgetUnnamed()
    for (const item of items) {
      const answer = own.get(item)
      if (answer === undefined) this.#encode(item)
      else this.#steps.push(answer)
    }
    if (end !== writeSync && this.#steps.every((each) => each instanceof Buffer)) {
      // Something must come from the server to say the answers behind: without a Sync it would say nothing.
      writeClose(this.#out, 'S', nobodys)
      this.#steps.push(step.hide)
    }
    end(this.#out)
    return this.#steps
  }

  #encode(item: GroupItem): void {
    const out = this.#out
    switch (item.kind) {
      case 'parse':
        if (item.use.statement.readsNames) this.#statements.forget(item.use.statement)
        if (this.#isFailed) this.#parseUnnamed(item.use, step.forward)
        else this.#use(item.use, step.forward)
        return
      case 'parse-taken':
        this.#parseUnnamed(item.use, step.hide)
        return
      case 'bind':
        this.#bind(item)
        return
      case 'describe-statement':
        writeDescribe(out, 'S', this.#use(item.use, null))
        this.#steps.push(wantsShape(item.use) ? item.use : step.describeStatement)
        return
      case 'describe-portal':
        this.#bindOwn(item)
        writeDescribe(out, 'P', item.portal)
        this.#steps.push(wantsShape(item.use) ? item.use : step.describePortal)
        return
      case 'execute':
        this.#bindOwn(item)
        writeExecute(out, item.portal, item.rowsMax)
        this.#steps.push(step.execute)
        return
      case 'close-statement':
        if (item.use?.isOnServer === true) {
          writeClose(out, 'S', item.name)
          this.#steps.push(step.forward)
        } else this.#steps.push(closeComplete)
        return
      case 'close-portal':
        writeClose(out, 'P', item.portal)
        this.#steps.push(step.forward)
    }
  }

  /** A command was the router's when it was bound, and is not any more. */
  #bindOwn(item: Extract<GroupItem, { kind: 'execute' | 'describe-portal' }>): void {
    const { portal, use } = item
    if (use === null || !this.#unbound.has(item)) return
    const statement = this.#use(use, null)
    writeBind(this.#out, { portal, statement, params: [], resultFormats: [] })
    this.#steps.push(step.hide)
  }

  #bind({ bind, use }: Extract<GroupItem, { kind: 'bind' }>): void {
    const before = this.#parsed.length
    const name = this.#use(use, null)
    if (this.#traceparent === null || use.isOnServer || this.#isFailed) {
      this.#writeBind(bind, name)
      this.#steps.push(step.forward)
      return
    }
    const isNew = name === '' || this.#parsed.length > before
    if (use.name !== '' || !isNew) this.#bindHidden(bind, name)
    this.#parseUnnamed(use, step.hide, withTraceparent(use.statement.text, this.#traceparent))
    this.#writeBind(bind, '')
    this.#steps.push(step.forward)
  }

  /**
   * A statement with its trace is parsed for this use only: what servers and this router keep has no comment. The one
   * that is kept is bound first, so that the client hears of it in its own words if it does not fit any more.
   */
  #bindHidden(bind: BindMessage, name: string): void {
    this.#writeBind(bind, name)
    this.#steps.push(step.hide)
    if (bind.portal === '') return
    writeClose(this.#out, 'P', bind.portal)
    this.#steps.push(step.hide)
  }

  #writeBind(bind: BindMessage, name: string): void {
    const out = this.#out
    const offset = out.begin(frontendCode.bind)
    out.cstring(bind.portal)
    out.cstring(name)
    bind.writeRest(out)
    out.end(offset)
  }

  /** A server has to judge it, whether it knows the statement or not. */
  #parseUnnamed({ statement }: ClientStatement, told: AnswerStep, text = statement.text): void {
    this.#statements.forgetUnnamed()
    writeParse(this.#out, '', text, statement.paramTypes)
    this.#steps.push(told)
  }

  /** Makes the server know the statement. `told` is how the client hears of a Parse, null when it did not ask. */
  #use(use: ClientStatement, told: typeof step.forward | null): string {
    if (use.isOnServer) {
      if (told !== null) this.#steps.push(parseComplete)
      return use.name
    }
    // One from before a change of the tables is the server's to judge: it may not fit any more.
    const isOld = use.generation < this.#generation
    const { name, parsed, closes } = this.#statements.use(this.#out, use.statement, {
      keep: isKept(use),
      isOld,
    })
    for (let close = 0; close < closes; close += 1) this.#steps.push(step.hide)
    if (parsed) {
      this.#parsed.push(use.statement)
      this.#steps.push(told ?? step.hide)
    } else if (told !== null) this.#steps.push(parseComplete)
    return name
  }
}

/**
 * The client's name for the statement of the item, if a server knows it by `serverName`, else null. Others of the group
 * may have names of their own for the same text.
 */
export function clientNameOf(
  item: GroupItem | undefined,
  statements: ServerStatements,
  serverName: string,
): string | null {
  if (item === undefined || item.kind === 'close-portal' || item.use === null) return null
  const { statement, name, isOnServer } = item.use
  return !isOnServer && statements.nameOf(statement) === serverName ? name : null
}

/** What a router says for the items around a command of its own. */
export const ownAnswer = {
  parse: parseComplete,
  bind: bindComplete,
  close: closeComplete,
  noData,
} as const
