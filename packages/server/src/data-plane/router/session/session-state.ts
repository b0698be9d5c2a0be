// What a session of the wire protocol is at a moment: its settings, its transaction, the connection it holds. Changed
// by what its commands have done.
import { FleetError, formatSessionToken, type SessionToken, type ShardMap } from '@fleetshard/core'
import {
  Cancellation,
  noSettings,
  PATH_SETTINGS,
  type SessionSettings,
  type ShardLogin,
} from '@fleetshard/routing/execute'
import type { Command } from '@fleetshard/routing/plan'
import { writeNotification, writeParameterStatus } from '@fleetshard/routing/pgwire'
import type { ServerNotification } from '@fleetshard/routing/wire'
import type { ClientOutput } from '../listeners/pgwire/output.ts'
import type { Allowance } from './allowance.ts'
import { settingsAfter } from './effects.ts'
import type { SessionEnvironment } from './environment.ts'
import type { ClientStatement } from './group-items.ts'
import { giveBack, type Held } from './server-side.ts'
import { OpenTransaction, type Kept } from './transaction-state.ts'
import { lastingly, noVariables, type OwnSettings, type Variables } from './variables.ts'

/** What a session begins with. */
export interface SessionStart {
  readonly keyspace: string
  readonly user: string
  readonly login: ShardLogin | null
  /** The client's token lets it read and nothing else. */
  readonly onlyReads: boolean
  readonly settings: SessionSettings
  readonly variables: Variables
  /** application_name as the client has given it. */
  readonly name: string
  /** How many statements the client may send; null for no limit. */
  readonly spend: Allowance | null
  /** Counts sessions: those without a shard of their own are spread by it. */
  readonly ordinal: number
}

/** A command that a server has carried out. */
export interface Carried {
  readonly command: Command
  readonly text: string
  /** Of CommandComplete: `COMMIT`, `ROLLBACK`, … */
  readonly tag: string
}

/** The state of one session. */
export class SessionState {
  readonly environment: SessionEnvironment
  readonly output: ClientOutput
  readonly start: SessionStart
  settings: SessionSettings
  own: OwnSettings
  transaction: OpenTransaction | null = null
  held: Held | null = null
  /** The held connection has state that belongs to the session. */
  isBound = false
  /** The held connection waits for the Sync of a group of which parts are answered. */
  isGroupOpen = false
  cancellation = new Cancellation()
  /** Told by the connections that the session holds. */
  readonly onNotification: (notification: ServerNotification) => void
  /** By the client's names. */
  readonly statements = new Map<string, ClientStatement>()
  readonly portals = new Map<string, ClientStatement>()
  /** Portals that no server knows, of the router's own commands; and whether they were run. */
  readonly ownPortals = new Map<string, { isRun: boolean }>()
  /** The application_name that the client was told last. */
  #reportedName: string
  #reportedToken: SessionToken | null = null

  constructor(environment: SessionEnvironment, output: ClientOutput, start: SessionStart) {
    this.environment = environment
    this.output = output
    this.start = start
    this.onNotification = (notification) => {
      writeNotification(output.writer, notification)
    }
    this.settings = start.settings
    this.own = lastingly(start.variables)
    this.#reportedName = start.variables.applicationName
  }

  /** The router's own settings as they are now. */
  get variables(): Variables {
    return this.own.current
  }

  /** What a rollback to this moment would give back. */
  get kept(): Kept {
    return { settings: this.settings, own: this.own }
  }

  /** Gives back what was kept. */
  restore({ settings, own }: Kept): void {
    this.settings = settings
    this.own = own
  }

  /** What SET LOCAL has set ends with its transaction. */
  endLocal(): void {
    const { current, lasting } = this.own
    if (current !== lasting) this.own = lastingly(lasting)
  }

  get map(): ShardMap {
    return this.environment.map(this.start.keyspace)
  }

  /** As ReadyForQuery tells it. */
  get status(): 'I' | 'T' | 'E' {
    const { transaction, held } = this
    if (transaction?.isClients !== true) return 'I'
    if (transaction.failure !== null) return 'E'
    return held?.session.connection.transactionStatus === 'failed' ? 'E' : 'T'
  }

  /** Servers tell of what has changed in front of ReadyForQuery; these settings none of them has. */
  report(): void {
    const { own } = (this.status === 'E' && this.transaction?.afterFailure) || this
    const { applicationName, sessionToken } = own.current
    const { writer } = this.output
    if (applicationName !== this.#reportedName) {
      this.#reportedName = applicationName
      writeParameterStatus(writer, 'application_name', applicationName)
    }
    if (sessionToken === this.#reportedToken) return
    this.#reportedToken = sessionToken
    if (sessionToken === null) return
    writeParameterStatus(writer, 'fleetshard.session_token', formatSessionToken(sessionToken))
  }

  /** Up to the Sync it is one implicit transaction, though parts of it are answered before. */
  beginImplicit(before: Kept = this.kept): void {
    if (this.transaction !== null) return
    this.transaction = new OpenTransaction('', before, false)
    if (this.isGroupOpen) this.transaction.pin = 'hard'
  }

  /** The Sync has come behind what was answered in parts: the transaction around it is over. */
  endImplicit(): void {
    if (this.transaction?.isClients === true) return
    this.endLocal()
    this.clearPortals()
    if (this.transaction === null) return
    this.transaction = null
    this.release()
  }

  /** An error takes back the settings of an implicit transaction that is answered in parts. */
  failImplicit(): void {
    const { transaction, held } = this
    if (transaction?.isClients !== false) return
    this.restore(transaction.before)
    if (held !== null) held.session.settings = this.settings
  }

  /** Portals end with their transaction. */
  clearPortals(): void {
    this.portals.clear()
    this.ownPortals.clear()
  }

  /** Gives the connection back unless it has to stay. */
  release(): void {
    const { held } = this
    if (held === null || this.isBound || this.isGroupOpen) return
    this.held = null
    giveBack(this.environment, held)
  }

  /** The end of the session: whatever is under way is rolled back. */
  leave(): void {
    this.isBound = false
    this.isGroupOpen = false
    const { held } = this
    if (held !== null && this.#hasState) held.left = held.left === 'more' ? 'more' : 'state'
    this.release()
    this.transaction = null
  }

  #hasState = false
  #watched: Held | null = null
  /** Told when the connection that the session is bound to is gone, whatever runs on it or not. */
  onBoundLost: (reason: string) => void = () => undefined

  /** The connection stays with the session until DISCARD ALL or its end. */
  bind(): void {
    this.isBound = true
    this.#hasState = true
    const { held } = this
    if (held === null || held === this.#watched) return
    this.#watched = held
    void held.session.connection.closed.then((reason) => {
      if (this.held === held && this.isBound) this.onBoundLost(reason?.message ?? 'the server has closed it')
    })
  }

  /** The connection is gone, and nothing was done on it that cannot be done on another one. */
  startOver(): void {
    const { held, transaction } = this
    this.held = null
    if (held !== null) held.node.pool.giveBack(held.session)
    if (transaction !== null) transaction.pin = 'none'
  }

  /** The connection is gone, and with it the transaction and whatever else was in it. */
  lose(reason: FleetError): void {
    const { held, transaction } = this
    this.held = null
    this.isBound = false
    this.isGroupOpen = false
    this.clearPortals()
    if (held !== null) giveBack(this.environment, held)
    if (transaction === null) return
    const failed = new OpenTransaction(transaction.begin, transaction.before, transaction.isClients)
    failed.failure = reason
    this.restore(transaction.before)
    this.transaction = failed
  }

  /** Takes over what a server has done. */
  carried(done: Carried): void {
    const { command, text, tag } = done
    switch (command.kind) {
      case 'begin':
        this.#begin(text)
        return
      case 'commit':
      case 'rollback':
        this.#end(tag, command.chain)
        return
      case 'savepoint':
      case 'release':
      case 'rollback-to':
        this.#savepoint(command.kind, command.name)
        return
      case 'set':
      case 'set-transaction':
      case 'reset':
      case 'discard':
        this.#set(command, text)
        return
      case 'prepare':
        this.#prepared(command)
        return
      case 'deallocate':
        this.#deallocated(command.name)
        return
      case 'execute':
        this.#executed(command.name, tag)
        return
      default:
    }
  }

  #savepoint(kind: 'savepoint' | 'release' | 'rollback-to', name: string): void {
    const { transaction } = this
    if (transaction === null) return
    if (kind === 'savepoint') transaction.save(name, this.kept)
    else if (kind === 'release') transaction.release(name)
    else {
      const kept = transaction.rollbackTo(name)
      if (kept !== null) this.restore(kept)
      if (this.held !== null) this.held.session.settings = this.settings
    }
  }

  /** Within a group that is answered in parts, the transaction of the group becomes the client's. */
  #begin(text: string): void {
    const { transaction } = this
    if (transaction?.isClients === true) return
    this.transaction = new OpenTransaction(text, transaction?.before ?? this.kept)
    this.transaction.pin = 'hard'
  }

  #end(tag: string, isChained: boolean): void {
    const { transaction } = this
    if (transaction === null) return
    if (tag === 'ROLLBACK') {
      this.restore(transaction.before)
      if (this.held !== null) this.held.session.settings = this.settings
    } else this.endLocal()
    this.transaction = null
    this.clearPortals()
    if (isChained) this.#begin(transaction.begin)
    else if (this.isGroupOpen) this.beginImplicit()
  }

  /** What SQL's PREPARE has made is a statement of the protocol too. The session is bound to its connection. */
  #prepared({ name, text }: Extract<Command, { kind: 'prepare' }>): void {
    const { wireStatements } = this.environment
    const statement = wireStatements.get(text, [])
    const { generation } = wireStatements
    this.statements.set(name, { statement, name, isOnServer: true, generation, shape: null })
  }

  /** What was prepared by the protocol may be any command, which has done what it does by itself. */
  #executed(name: string, tag: string): void {
    const { known = null, text = '' } = this.statements.get(name)?.statement ?? {}
    if (known !== null) this.carried({ command: known.facts.command, text, tag })
  }

  #deallocated(name: string | null): void {
    if (name !== null) {
      this.statements.delete(name)
      return
    }
    for (const known of this.statements.keys()) if (known !== '') this.statements.delete(known)
    this.held?.session.statements.clear()
    this.held?.session.prepared.clear()
  }

  #set(command: Command, text: string): void {
    const { held, start, settings } = this
    this.settings = settingsAfter(command, { settings, startup: start.settings, text })
    if (this.transaction !== null && command.kind === 'set' && PATH_SETTINGS.has(command.name))
      this.transaction.hasOwnPath = true
    if (held !== null) {
      const { session } = held
      session.settings = settingsAfter(command, { settings: session.settings, startup: noSettings, text })
    }
    if (command.kind === 'reset' && command.name === null) this.own = lastingly(resetOwn(this.start))
    if (command.kind !== 'discard' || command.what !== 'all') return
    this.own = lastingly(resetOwn(this.start))
    // The one without a name stays, as it does in Postgres.
    for (const known of this.statements.keys()) if (known !== '') this.statements.delete(known)
    this.isBound = false
    this.#hasState = false
    if (held === null) return
    if (held.left === 'state') held.left = 'nothing'
    held.hasCounted = false
    held.session.statements.clear()
    held.session.prepared.clear()
  }
}

const resetOwn = ({ variables }: SessionStart): Variables => ({
  ...noVariables,
  applicationName: variables.applicationName,
})

/** A server waits for the Sync of a group, or would if its connection were not lost. */
export const waitsForSync = ({ isGroupOpen, transaction, held }: SessionState): boolean =>
  isGroupOpen || (transaction?.isClients === false && held !== null)

/** True when a server has a transaction that ends with the next Sync. */
export const hasImplicitLeft = ({ transaction, held }: SessionState): boolean =>
  transaction?.isClients === false && held !== null && held.session.connection.transactionStatus !== 'idle'

/** True when a server has a transaction that an error of the router's own must make fail. */
export const mustFail = ({ isGroupOpen, transaction }: SessionState, { session }: Held): boolean =>
  isGroupOpen || (transaction !== null && session.connection.transactionStatus === 'transaction')

/** True for a transaction that no server knows of yet. */
export const isYetToFail = ({ transaction, held }: SessionState): boolean =>
  held === null &&
  transaction?.isClients === true &&
  transaction.pin === 'none' &&
  transaction.failure === null

/** What is said of a statement in a transaction that has failed, in the words of Postgres. */
export const inFailedTransaction = (hint = ''): FleetError =>
  new FleetError(
    'statement_refused',
    'current transaction is aborted, commands ignored until end of transaction block',
    { sqlstate: '25P02', ...(hint === '' ? {} : { hint }) },
  )

/** The same where only the router knows why. */
export const transactionAborted = (failure: FleetError): FleetError =>
  inFailedTransaction(`it failed because of: ${failure.message}`)

/**
 * What is said of a transaction whose server has gone before it was committed, as in a cutover. Nothing of it has
 * happened: by this SQLSTATE drivers and frameworks know that they may begin it again.
 */
export const rolledBack = (lost: FleetError): FleetError =>
  new FleetError('shard_unavailable', `the transaction was rolled back: ${lost.message}`, {
    sqlstate: '40001',
    hint: 'begin it again and send all its statements',
    cause: lost,
  })
