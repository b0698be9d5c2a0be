// A transaction that stays open over several requests: one borrowed session, one statement at a time, an end for
// everything. Whatever goes wrong rolls it back at once, so that a client that is gone holds no locks.
import {
  assertNever,
  FleetError,
  toFleetError,
  type SessionToken,
  type ShardMap,
  type ShardRecord,
} from '@fleetshard/core'
import { placeStatement, refuseUnprotected, type KnownStatement } from '../plan/mod.ts'
import type { Cancellation } from './cancellation.ts'
import { changesPath, refuseDoubleNames } from './double-names.ts'
import { mayCount, refuseForgotten } from './recall.ts'
import { refuseHidden, refuseInTransaction, refuseState } from './checks.ts'
import type { StatementAnswer, StatementCall } from './calls.ts'
import { checkParameterCount } from './parameters.ts'
import { PositionBehind } from './positions.ts'
import { endOrThrow, runAlone, type WorkParts } from './session-work.ts'
import type { Session } from './session.ts'
import type { NodeAccess, ShardAccess } from './shard-access.ts'
import type { RunEnd } from './statement-run.ts'
import { tokenAfter } from './session-reads.ts'
import { traitsOf, worseLeft, type Left } from './traits.ts'
import { changedSettings, commit, rollback, type TransactionOptions } from './transaction.ts'
import { workOf } from './work-of.ts'

/** What a transaction is made of once it has begun. */
export interface HeldParts extends WorkParts {
  readonly access: ShardAccess
  readonly node: NodeAccess
  readonly session: Session
  readonly map: ShardMap
  readonly options: TransactionOptions
  /** A transaction that gets no request for so long is rolled back. */
  readonly idleMs: number
  /** Cleans the session by what was left in it and gives it back. */
  readonly giveBack: (left: Left) => void
}

/** One statement of it. The map is asked at every statement. */
export interface HeldCall extends Pick<
  StatementCall,
  'params' | 'consumer' | 'readOnly' | 'map' | 'cancellation' | 'traceparent'
> {
  /** Analysed while the transaction is at work on it, so that a text which is no SQL ends the transaction too. */
  readonly known: () => KnownStatement | Promise<KnownStatement>
}

/**
 * `idle`: open, waits for a request. `busy`: works on one. `failed`: rolled back, its client not yet told by a commit
 * or rollback. `ended`: over.
 */
type State =
  | { readonly kind: 'idle' }
  | { readonly kind: 'busy' }
  /** `isTold`: its client knows; else it went between two requests. */
  | { readonly kind: 'failed'; readonly error: FleetError; readonly isTold: boolean }
  | { readonly kind: 'ended' }

/** However often it is used, a transaction ends after this time: it keeps the shard from removing old rows. */
const lifeMsMax = 60 * 60_000

/** An open transaction. Made by the executor's `begin`. */
export class HeldTransaction {
  readonly #parts: HeldParts
  readonly #untilMs: number
  readonly #ended = Promise.withResolvers<void>()
  readonly #closed = Promise.withResolvers<void>()
  #state: State = { kind: 'idle' }
  #left: Left = 'nothing'
  #changesSchema = false
  /** Names may mean other tables than on a new connection. */
  #hasOwnPath = false
  /** A statement of it may have asked a sequence. */
  #hasCounted = false
  #released = false
  #lostBy: FleetError | null = null
  #stopTimer: () => void = () => undefined

  constructor(parts: HeldParts) {
    this.#parts = parts
    this.#untilMs = parts.clock.monotonic() + lifeMsMax
    this.#wait()
    void parts.session.connection.closed.then((reason) => {
      this.#lost(reason ?? new FleetError('shard_unavailable', 'the connection was closed'))
    })
  }

  get shard(): ShardRecord {
    return this.#parts.access.record
  }
  /** Id of the node that it runs on. */
  get node(): string {
    return this.#parts.node.node.id
  }
  /** Of the map that it was begun by. */
  get epoch(): number {
    return this.#parts.map.epoch
  }
  /** True while there is something to lose. */
  get isOpen(): boolean {
    return this.#state.kind === 'idle' || this.#state.kind === 'busy'
  }
  /** Resolves when there is nothing to lose any more. */
  get closed(): Promise<void> {
    return this.#closed.promise
  }
  /** Resolves when it was committed, rolled back, or given up. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  /**
   * Runs one statement. Any error rolls the transaction back.
   * @throws FleetError as the executor's `transaction`; `transaction_busy`, which leaves it as it is
   */
  async execute(call: HeldCall): Promise<StatementAnswer> {
    this.#enter()
    try {
      const rowCount = await this.#run(call)
      this.#wait()
      return { shard: this.shard, node: this.node, epoch: this.epoch, rowCount, replayed: false, token: null }
    } catch (error) {
      await this.#fail(toFleetError(error))
      throw this.#at(error)
    }
  }

  /**
   * Commits. It is over then, whatever comes of it. The token comes back with what was written.
   * @throws FleetError `transaction_aborted`, `outcome_unknown`, `transaction_busy`, what Postgres says
   */
  async commit(cancellation: Cancellation, token: SessionToken | null): Promise<SessionToken | null> {
    if (this.#state.kind === 'failed') {
      const failed = this.#state
      this.#end()
      throw aborted(failed)
    }
    this.#enter()
    const { session, options } = this.#parts
    try {
      if (cancellation.reason !== null) throw cancellation.reason
      const position = new PositionBehind(session)
      const asks = token !== null && !options.readOnly
      const behind = asks ? position.ask : undefined
      const end = await commit(this.#parts, session, { cancellation, behind })
      const written = await position.answer
      if (this.#changesSchema) this.#parts.access.schemaChanged()
      endOrThrow(end, { writes: !options.readOnly })
      return asks ? tokenAfter(token, this.shard, written) : token
    } catch (error) {
      throw this.#at(error)
    } finally {
      // Only what was never sent is still open.
      if (session.connection.transactionStatus !== 'idle') await this.#rollBack()
      this.#end()
    }
  }

  /** Rolls back. @throws FleetError `transaction_busy` */
  async rollback(): Promise<void> {
    if (this.#state.kind === 'failed') {
      this.#end()
      return
    }
    this.#enter()
    await this.#rollBack()
    this.#end()
  }

  /** Ends it for another reason than its client's will, unless it is at work or over. */
  async giveUp(): Promise<void> {
    if (this.#state.kind === 'failed') this.#end()
    if (this.#state.kind === 'idle') await this.rollback()
  }

  async #run(call: HeldCall): Promise<number> {
    const { params, consumer, readOnly, map: mapNow, cancellation, traceparent } = call
    const { access, session, options } = this.#parts
    const known = await call.known()
    refuseInTransaction(known.facts, options.readOnly || readOnly)
    refuseForgotten([known.facts], this.#hasCounted)
    checkParameterCount(params, known.facts.parameters)
    const map = mapNow()
    refuseUnprotected(known.text, map)
    const shard = placeStatement(known, map, { shardKey: undefined, shardId: this.shard.id, params })
    refuseState(shard, known.facts)
    const facts = await access.schemaFacts(cancellation)
    const { onlyReads } = options
    refuseHidden({ known, params, shardKey: undefined, shardId: shard.id, onlyReads }, map, facts)
    this.#hasOwnPath ||= changesPath(known.facts)
    refuseDoubleNames(known.facts, map, facts, this.#hasOwnPath)
    const traits = traitsOf(known, facts)
    this.#left = worseLeft(this.#left, traits.leaves)
    this.#changesSchema ||= known.facts.kind === 'ddl'
    this.#hasCounted ||= mayCount(known.facts) || (known.facts.kind === 'read' && traits.writes)
    const work = workOf({ known, params, consumer, traceparent }, map, facts)
    const { end } = await runAlone(this.#parts, session, work, cancellation)
    return rowCountOf(end, changedSettings(session) ?? cancellation.reason)
  }

  /** @throws FleetError unless a request may begin now */
  #enter(): void {
    switch (this.#state.kind) {
      case 'idle':
        this.#stopTimer()
        this.#state = { kind: 'busy' }
        return
      case 'busy':
        throw new FleetError('transaction_busy', 'the transaction still works on an earlier request', {
          hint: 'wait for its answer',
        })
      case 'failed': {
        const failed = this.#state
        this.#state = { ...failed, isTold: true }
        throw aborted(failed)
      }
      case 'ended':
        throw new FleetError('transaction_not_found', 'the transaction has ended')
      default:
        assertNever(this.#state)
    }
  }

  #wait(): void {
    if (this.#lostBy !== null) {
      this.#toFailed(this.#lostBy, false)
      return
    }
    this.#state = { kind: 'idle' }
    this.#watch()
  }

  #watch(): void {
    const now = this.#parts.clock.monotonic()
    const atMs = Math.min(now + this.#parts.idleMs, this.#untilMs)
    this.#stopTimer = this.#parts.sweeper.watch(atMs, () => {
      void this.giveUp()
    })
  }

  async #fail(error: FleetError): Promise<void> {
    await this.#rollBack()
    this.#toFailed(error, true)
  }

  #toFailed(error: FleetError, isTold: boolean): void {
    if (this.#state.kind === 'ended' || this.#state.kind === 'failed') return
    this.#stopTimer()
    this.#state = { kind: 'failed', error, isTold }
    this.#closed.resolve()
    this.#watch()
  }

  /** Between two requests; during one the request itself finds out. */
  #lost(error: FleetError): void {
    this.#lostBy = error
    this.#release()
    if (this.#state.kind === 'idle') this.#toFailed(error, false)
  }

  async #rollBack(): Promise<void> {
    if (this.#released) return
    const { session } = this.#parts
    await rollback(this.#parts, session, { kind: 'completed', rowCount: 0, refused: null })
    this.#release()
  }

  #end(): void {
    this.#stopTimer()
    this.#release()
    this.#state = { kind: 'ended' }
    this.#closed.resolve()
    this.#ended.resolve()
  }

  /** Once: what was a transaction is a session for others again. */
  #release(): void {
    if (this.#released) return
    this.#released = true
    this.#parts.giveBack(this.#left)
  }

  #at(error: unknown): unknown {
    if (!(error instanceof FleetError)) return error
    return error.withFacts({ shard_id: this.shard.id, node: this.node })
  }
}

/** @throws FleetError of the statement, or the reason why the transaction can't go on after it */
function rowCountOf(end: RunEnd, reason: FleetError | null): number {
  switch (end.kind) {
    case 'completed':
      if (end.refused !== null) throw end.refused
      if (reason !== null) throw reason
      return end.rowCount
    case 'error':
    case 'lost':
      throw end.error
    default:
      return assertNever(end)
  }
}

function aborted({
  error: cause,
  isTold,
}: {
  readonly error: FleetError
  readonly isTold: boolean
}): FleetError {
  return new FleetError('transaction_aborted', `the transaction was rolled back: ${cause.message}`, {
    retryable: cause.retryable,
    // Only who has seen a statement fail expects to hear that nothing is taken any more.
    ...(isTold ? {} : { sqlstate: '40001' }),
    cause,
    facts: { cause_code: cause.code, cause_sqlstate: cause.sqlstate },
  })
}
