// What a session of the wire protocol is at a moment: its settings, its transaction, the connection it holds. Changed
// by what its commands have done.
import { FleetError, type ShardMap } from '@fleetshard/core'
import { Cancellation, noSettings, type SessionSettings, type ShardLogin } from '@fleetshard/routing/execute'
import type { Command } from '@fleetshard/routing/plan'
import { writeNotification, writeParameterStatus } from '@fleetshard/routing/pgwire'
import type { ServerNotification } from '@fleetshard/routing/wire'
import type { ClientOutput } from '../listeners/pgwire/output.ts'
import { settingsAfter } from './effects.ts'
import type { SessionEnvironment } from './environment.ts'
import type { ClientStatement } from './group-items.ts'
import { giveBack, type Held } from './server-side.ts'
import { OpenTransaction } from './transaction-state.ts'
import { noVariables, type Variables } from './variables.ts'

/** What a session begins with. */
export interface SessionStart {
  readonly keyspace: string
  readonly user: string
  readonly login: ShardLogin | null
  /** The client's token lets it read and nothing else. */
  readonly onlyReads: boolean
  readonly settings: SessionSettings
  readonly variables: Variables
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
  variables: Variables
  transaction: OpenTransaction | null = null
  held: Held | null = null
  /** The held connection has state that belongs to the session. */
  isBound = false
  cancellation = new Cancellation()
  /** Told by the connections that the session holds. */
  readonly onNotification: (notification: ServerNotification) => void
  /** By the client's names. */
  readonly statements = new Map<string, ClientStatement>()
  readonly portals = new Map<string, ClientStatement>()
  /** The application_name that the client was told last. */
  #reportedName: string

  constructor(environment: SessionEnvironment, output: ClientOutput, start: SessionStart) {
    this.environment = environment
    this.output = output
    this.start = start
    this.onNotification = (notification) => {
      writeNotification(output.writer, notification)
    }
    this.settings = start.settings
    this.variables = start.variables
    this.#reportedName = start.variables.applicationName
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

  /** Servers tell of what has changed in front of ReadyForQuery; this setting none of them has. */
  reportName(): void {
    const { applicationName } = this.variables
    if (applicationName === this.#reportedName) return
    this.#reportedName = applicationName
    writeParameterStatus(this.output.writer, 'application_name', applicationName)
  }

  /** Gives the connection back unless it has to stay. */
  release(): void {
    const { held } = this
    if (held === null || this.isBound) return
    this.held = null
    giveBack(this.environment, held)
  }

  /** The end of the session: whatever is under way is rolled back. */
  leave(): void {
    this.isBound = false
    const { held } = this
    if (held !== null && this.#hasState) held.left = held.left === 'more' ? 'more' : 'state'
    this.release()
    this.transaction = null
  }

  #hasState = false

  /** The connection stays with the session until DISCARD ALL or its end. */
  bind(): void {
    this.isBound = true
    this.#hasState = true
  }

  /** The connection is gone, and with it the transaction and whatever else was in it. */
  lose(reason: FleetError): void {
    const { held, transaction } = this
    this.held = null
    this.isBound = false
    this.portals.clear()
    if (held !== null) giveBack(this.environment, held)
    if (transaction === null) return
    const failed = new OpenTransaction(transaction.begin, transaction.settingsBefore, transaction.isClients)
    failed.failure = reason
    this.settings = transaction.settingsBefore
    this.transaction = failed
  }

  /** Takes over what a server has done. */
  carried(done: Carried): void {
    const { command, text, tag } = done
    switch (command.kind) {
      case 'begin':
        if (this.transaction === null) this.#begin(text)
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
      default:
    }
  }

  #savepoint(kind: 'savepoint' | 'release' | 'rollback-to', name: string): void {
    const { transaction } = this
    if (transaction === null) return
    if (kind === 'savepoint') transaction.save(name, this.settings)
    else if (kind === 'release') transaction.release(name)
    else {
      this.settings = transaction.rollbackTo(name) ?? this.settings
      if (this.held !== null) this.held.session.settings = this.settings
    }
  }

  #begin(text: string): void {
    this.transaction = new OpenTransaction(text, this.settings)
    this.transaction.pin = 'hard'
  }

  #end(tag: string, isChained: boolean): void {
    const { transaction } = this
    if (transaction === null) return
    if (tag === 'ROLLBACK') {
      this.settings = transaction.settingsBefore
      if (this.held !== null) this.held.session.settings = this.settings
    }
    this.transaction = null
    this.portals.clear()
    if (isChained) this.#begin(transaction.begin)
  }

  /** What SQL's PREPARE has made is a statement of the protocol too. The session is bound to its connection. */
  #prepared({ name, text }: Extract<Command, { kind: 'prepare' }>): void {
    const { wireStatements } = this.environment
    const statement = wireStatements.get(text, [])
    const { generation } = wireStatements
    this.statements.set(name, { statement, name, isOnServer: true, generation, shape: null })
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
    if (held !== null) {
      const { session } = held
      session.settings = settingsAfter(command, { settings: session.settings, startup: noSettings, text })
    }
    if (command.kind === 'reset' && command.name === null) this.variables = resetOwn(this.start)
    if (command.kind !== 'discard' || command.what !== 'all') return
    this.variables = resetOwn(this.start)
    this.statements.clear()
    this.isBound = false
    this.#hasState = false
    if (held === null) return
    if (held.left === 'state') held.left = 'nothing'
    held.session.statements.clear()
    held.session.prepared.clear()
  }
}

const resetOwn = ({ variables }: SessionStart): Variables => ({
  ...noVariables,
  applicationName: variables.applicationName,
})

/** What is said of a statement in a transaction that has failed, in the words of Postgres. */
export const transactionAborted = (failure: FleetError): FleetError =>
  new FleetError(
    'statement_refused',
    'current transaction is aborted, commands ignored until end of transaction block',
    { sqlstate: '25P02', hint: `it failed because of: ${failure.message}` },
  )

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
