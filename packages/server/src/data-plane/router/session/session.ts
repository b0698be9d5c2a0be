// A session of the Postgres wire protocol: takes the messages of one client in their order, runs what belongs together
// as one piece, and answers. One piece at a time: the next is looked at when the one before is answered.
import { FleetError, isFleetError, toFleetError } from '@fleetshard/core'
import { Cancellation } from '@fleetshard/routing/execute'
import {
  backendCode,
  frontendCode,
  messageHeaderBytes,
  writeBare,
  writeReadyForQuery,
} from '@fleetshard/routing/pgwire'
import { lexQuery } from '@fleetshard/routing/plan'
import type { EnteredClient, WireClientSession } from '../listeners/pgwire/listener.ts'
import { writeThrown } from '../listeners/pgwire/errors.ts'
import { failTransaction } from './after-failure.ts'
import { spendOnItems, spendOnQuery } from './allowance.ts'
import { CopyIn } from './copy-in.ts'
import { fatalOf, refusalOf, SessionLost } from './errors.ts'
import { extendedWork, syncOf, type ExtendedWork } from './extended-work.ts'
import { GroupCollector, queryText, refuseText } from './group-collector.ts'
import type { GroupItem } from './group-items.ts'
import { functionCallWork } from './function-call.ts'
import { greet } from './greeting.ts'
import { GroupRunner } from './group-runner.ts'
import { ownResultOf, writeOwnResult } from './own-commands.ts'
import { prepare, type Unready } from './prepare.ts'
import { closeForQuery, endBehindQuery } from './query-in-group.ts'
import { findStatements, knownStatement } from './query-statements.ts'
import { isPlain, queryWork, type QueryStatement } from './query-work.ts'
import { runAlone, type Piece, type Ran } from './run-alone.ts'
import { beginInLane, type LaneEnd, type LaneRead } from './run-lane.ts'
import { hasImplicitLeft, SessionState, waitsForSync } from './session-state.ts'
import { PieceFigures } from './piece-figures.ts'
import { checkPrepare, executeWork } from './sql-prepared.ts'
import { teachNames } from './teach-names.ts'
import type { Kept } from './transaction-state.ts'
import type { Activity, Behind, GroupPart, PieceEnd, WireSessionParts, Work } from './work.ts'

/** One client's session. */
export class WireSession implements WireClientSession {
  readonly #parts: WireSessionParts
  readonly state: SessionState
  readonly #runner: GroupRunner
  #activity: Activity = 'greeting'
  readonly #collector: GroupCollector
  /** After an error everything up to the next Sync is passed over. */
  #isSkipping = false
  /** A message that came before what is in front of it was answered, as it had to be: it is looked at behind that. */
  #next: { readonly type: number; readonly bytes: Buffer } | null = null
  #read: LaneRead | null = null
  /** What failed behind the part of a piece that runs now. */
  #behind: Behind | null = null
  /** What an error takes back, of a group that is a transaction by itself. */
  #before: Kept | null = null
  readonly #copy: CopyIn
  #isQuery = false
  #shutDown: FleetError | null = null
  readonly #figures: PieceFigures

  constructor(parts: WireSessionParts) {
    this.#parts = parts
    this.state = new SessionState(parts.environment, parts.client.connection.output, parts.start)
    this.#figures = new PieceFigures(parts.environment)
    this.#collector = new GroupCollector(this.state, parts.environment.wireStatements)
    const { connection } = parts.client
    this.#runner = new GroupRunner(connection.output, {
      begin: (held) => {
        this.#copy.begin(held, this.#isQuery)
      },
      hasSynced: (failed) => this.#copy.hasSynced(failed),
    })
    this.#copy = new CopyIn(connection, this.#runner)
    this.state.onBoundLost = (reason) => this.#boundLost(reason)
  }

  get client(): EnteredClient {
    return this.#parts.client
  }
  get activity(): Activity {
    return this.#activity
  }

  start(): void {
    const { client } = this.#parts
    client.connection.hold()
    greet(this.state, client.key).then(
      () => this.#ready(),
      (error: unknown) => this.#die(error),
    )
  }

  cancel(): void {
    if (this.#activity !== 'active') return
    const reason = new FleetError('canceled', 'canceling statement due to user request', {
      sqlstate: '57014',
    })
    this.state.cancellation.cancel(reason)
    this.#read?.cancel()
    this.#runner.cancel()
  }

  shutDown(error: FleetError, now: boolean): void {
    this.#shutDown = error
    if (now || (this.#activity !== 'active' && this.state.transaction === null)) this.#die(error)
  }

  gone(): void {
    if (this.#activity === 'over') return
    const wasActive = this.#activity === 'active'
    this.#activity = 'over'
    this.state.cancellation.cancel(new FleetError('canceled', 'the client has gone'))
    this.#read?.cancel()
    const hasEnd = this.#copy.isOn || this.#copy.hasSynced(true)
    this.#copy.abort()
    this.#runner.abandon()
    if (!hasEnd) this.#runner.closeOpen()
    // What runs ends first: its end gives the connection back.
    if (!wasActive || this.#runner.running === null) this.state.leave()
    this.#parts.onEnd()
  }

  broken(error: FleetError): void {
    this.#die(error)
  }

  /** Whoever only listens would never hear of it; what runs ends with it anyway. */
  #boundLost(reason: string): void {
    if (this.#activity.startsWith('idle')) this.#die(new SessionLost(reason).error)
  }

  acceptsPieces(type: number): boolean {
    return type === frontendCode.copyData && this.#copy.isOn
  }

  piece(buf: Buffer, start: number, end: number, bytesLeft: number): void {
    this.#copy.piece(buf.subarray(start, end), bytesLeft)
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    try {
      if (this.#copy.isOn && type !== frontendCode.terminate)
        this.#copy.message(type, buf.subarray(start, end))
      else this.#take(type, buf, start, end)
    } catch (error) {
      this.#die(error)
    }
  }

  #take(type: number, buf: Buffer, start: number, end: number): void {
    switch (type) {
      case frontendCode.sync:
        this.#piece('sync')
        return
      case frontendCode.terminate:
        this.#parts.client.connection.end()
        return
      case frontendCode.copyData:
      case frontendCode.copyDone:
      case frontendCode.copyFail:
        // The rest of a COPY that has failed.
        return
      default:
    }
    if (this.#isSkipping) return
    switch (type) {
      case frontendCode.query:
      case frontendCode.functionCall:
        this.#query(type, buf, start, end)
        return
      case frontendCode.flush:
        if (!this.#collector.isEmpty) this.#piece('flush')
        return
      default:
        if (this.#collector.waits(type, buf, start)) {
          this.#runFirst(type, buf, start, end)
          return
        }
        this.#collector.add(type, buf, start, end)
        if (this.#collector.isFull) this.#piece('flush')
    }
  }

  /** What was collected is run; then the message is taken. */
  #runFirst(type: number, buf: Buffer, start: number, end: number): void {
    this.#next = { type, bytes: Buffer.from(buf.subarray(start, end)) }
    this.#piece('flush')
  }

  /** From here on the next message waits until this piece is answered. */
  #enter(isQuery: boolean): void {
    this.#parts.client.connection.hold()
    this.#activity = 'active'
    this.#isQuery = isQuery
    this.#figures.begin()
    if (this.state.cancellation.reason !== null) this.state.cancellation = new Cancellation()
  }

  #piece(end: PieceEnd): void {
    const { items, failure } = this.#collector.take()
    this.#enter(false)
    if (end === 'sync') this.#isSkipping = false
    if (items.length === 0 && failure === null) {
      if (end === 'sync' && waitsForSync(this.state)) this.#runItems(items, end)
      else this.#finish(end, '')
      return
    }
    try {
      spendOnItems(this.state.start.spend, items)
    } catch (error) {
      this.#fail(error, end, items)
      return
    }
    this.#prepare({ error: null, end, items, broken: failure })
  }

  #prepare(rest: Behind): void {
    const finding = prepare(this.state, this.#runner, rest.items)
    if (finding === null) this.#runReady(rest, null)
    else void finding.then((unready) => this.#runReady(rest, unready))
  }

  /** What is in front of something wrong is answered before the client hears of that, as a server would. */
  #runReady({ end, items, broken }: Behind, unready: Unready | null): void {
    if (unready === null && broken === null) {
      this.#runItems(items, end)
      return
    }
    const { ready, error } = unready ?? { ready: items.length, error: broken }
    if (ready === 0) this.#fail(error, end, items)
    else {
      this.#behind = { error, end, items: items.slice(ready), broken }
      this.#runItems(items.slice(0, ready), 'flush')
    }
  }

  #runItems(items: readonly GroupItem[], end: PieceEnd): void {
    const { state } = this
    const { kept } = state
    this.#before = state.transaction === null ? kept : null
    const runs = items.some(({ kind }) => kind === 'bind' || kind === 'execute')
    if (end === 'flush' && runs) state.beginImplicit(kept)
    try {
      const made = extendedWork(state, items)
      const { failure } = made
      if (failure === null) {
        this.#runWork(made, { end, runs, items })
        return
      }
      if (failure.ready === 0) throw failure.error
      // In front of what waits already.
      const { items: later = [], broken = null, end: last = end } = this.#behind ?? {}
      const rest = [...items.slice(failure.ready), ...later]
      this.#behind = { error: failure.error, end: last, items: rest, broken }
      state.beginImplicit(kept)
      this.#runWork(made, { end: 'flush', runs, items: items.slice(0, failure.ready) })
    } catch (error) {
      state.own = kept.own
      this.#fail(error, end, items)
    }
  }

  #runWork({ work, own }: ExtendedWork, { end, runs, items }: GroupPart): void {
    if (work !== null || (end === 'sync' && waitsForSync(this.state))) {
      const stays = end === 'flush' && (runs || this.#runner.isOpen)
      this.#run({ work: work ?? syncOf(own), stays }, end, items)
      return
    }
    for (const answer of own) this.state.output.copy(answer, 0, answer.length)
    this.#finish(end, '')
  }

  /** A Query, or a FunctionCall: each ends what is open in front of it, as a Sync would. */
  #query(type: number, buf: Buffer, start: number, end: number): void {
    const text = type === frontendCode.query ? queryText(buf, start, end) : null
    if (!this.#collector.isEmpty) {
      this.#runFirst(type, buf, start, end)
      return
    }
    this.#enter(true)
    if (text !== null) this.state.statements.delete('')
    const { isOpen } = this.#runner
    const keeps = isOpen || text === null
    const kept = keeps ? Buffer.from(buf.subarray(start, end)) : buf
    const run = (): void => {
      try {
        if (text === null) this.#callFunction(kept).catch((error: unknown) => this.#fail(error, 'sync'))
        else this.#runQuery(text, kept, keeps ? 0 : start)
      } catch (error) {
        this.#fail(error, 'sync')
      }
    }
    if (isOpen) closeForQuery(this.state, this.#runner).then(run, run)
    else run()
  }

  async #callFunction(message: Buffer): Promise<void> {
    this.#run({ work: await functionCallWork(this.state, message), stays: false }, 'sync', [])
  }

  #runQuery(text: string, buf: Buffer, start: number): void {
    refuseText(text, this.state.map, buf, start + messageHeaderBytes)
    const lexed = lexQuery(text)
    if (lexed.length === 0) {
      writeBare(this.state.output.writer, backendCode.emptyQueryResponse)
      this.#finish('sync', '')
      return
    }
    spendOnQuery(this.state.start.spend, lexed)
    const [only] = lexed
    // The way of most queries, without a promise.
    const known = only !== undefined && lexed.length === 1 ? knownStatement(this.state, only) : null
    if (known !== null && isPlain(known)) {
      if (!this.#answerOwn(known))
        this.#run({ work: queryWork(this.state, text, [known]), stays: false }, 'sync', [])
    } else {
      this.#findOut(text, lexed).catch((error: unknown) => this.#fail(error, 'sync'))
    }
  }

  async #findOut(text: string, lexed: readonly QueryStatement['lexed'][]): Promise<void> {
    const { state } = this
    const known = await findStatements(state, this.#runner, { text, lexed })
    const only = known.length === 1 ? known[0] : undefined
    if (only !== undefined) await checkPrepare(state, this.#runner, only.known)
    if (only !== undefined && this.#answerOwn(only)) return
    for (const one of known) await teachNames(state, this.#runner, one.known, only !== undefined)
    const use = only === undefined ? null : await executeWork(state, this.#runner, only.known)
    this.#run({ work: use ?? queryWork(this.state, text, known), stays: false }, 'sync', [])
  }

  #answerOwn({ lexed, known }: QueryStatement): boolean {
    const { state } = this
    const result = ownResultOf(state, { known, text: lexed.text, place: 'alone', lexed })
    if (result === null) return false
    writeOwnResult(state.output.writer, result)
    this.#finish('sync', '')
    return true
  }

  #run(piece: Piece, end: PieceEnd, items: readonly GroupItem[]): void {
    const { work } = piece
    this.#figures.planned(work)
    if (end === 'sync') {
      this.#read = beginInLane(this.state, work, (laneEnd) => {
        this.#laneOver(laneEnd, work, items)
      })
      if (this.#read !== null) return
    }
    this.#alone(piece, end, items)
  }

  #alone(piece: Piece, end: PieceEnd, items: readonly GroupItem[]): void {
    runAlone(this.state, this.#runner, piece, {
      ran: (ran) => {
        if (ran.sqlstate !== '') this.#undo(items, ran.answered)
        this.#finish(end, ran.sqlstate, ran)
      },
      failed: (error) => {
        this.#fail(error, end, items)
      },
    })
  }

  #laneOver(laneEnd: LaneEnd, work: Work, items: readonly GroupItem[]): void {
    this.#read = null
    switch (laneEnd.kind) {
      case 'answered':
        if (laneEnd.sqlstate !== '') this.#undo(items, laneEnd.answered)
        this.#finish('sync', laneEnd.sqlstate, laneEnd)
        return
      case 'alone':
        if (laneEnd.why !== null) this.#parts.environment.metrics.retried(laneEnd.why)
        this.#alone({ work, stays: false }, 'sync', items)
        return
      case 'canceled':
        this.#fail(this.state.cancellation.reason, 'sync', items)
        return
      case 'failed':
        this.#fail(laneEnd.error, 'sync', items)
    }
  }

  /** The piece has failed before a server ran it: the client is told, and its transaction fails with it. */
  #fail(thrown: unknown, asked: PieceEnd, items: readonly GroupItem[] = []): void {
    const end = this.#behind?.end ?? asked
    this.#undo(items, 0)
    this.#behind = null
    if (this.#activity === 'over') {
      this.state.leave()
      return
    }
    const fatal = fatalOf(thrown)
    if (fatal !== null) {
      this.#die(fatal)
      return
    }
    if (isFleetError(thrown, 'internal')) {
      this.#parts.environment.log.error({ err: thrown.cause ?? thrown }, 'a session had a defect')
    }
    const { bytes, sqlstate } = refusalOf(thrown)
    this.#figures.failed(thrown, this.state.map)
    const { state } = this
    state.failImplicit()
    const failed = (): void => {
      const { held, transaction } = state
      if (transaction !== null && held === null) transaction.failure ??= toFleetError(thrown)
      state.output.copy(bytes, 0, bytes.length)
      if (transaction === null) state.release()
      this.#finish(end, sqlstate)
    }
    const told = (isTold: boolean): void => (isTold ? this.#finish(end, sqlstate) : failed())
    const failing = failTransaction(state, this.#runner, thrown, { bytes, end })
    if (failing === null) failed()
    else failing.then(told, (error: unknown) => this.#die(error))
  }

  /** What was not carried out has changed no names. */
  #undo(items: readonly GroupItem[], from: number): void {
    const behind = this.#behind?.items ?? []
    this.#collector.undo(behind.length === 0 ? items : [...items, ...behind], from)
  }

  #finish(asked: PieceEnd, sqlstate: string, ran?: Pick<Ran, 'rows' | 'shard'>): void {
    this.#figures.end(sqlstate, ran)
    // An error takes back what the group has set, which was no part of a transaction of the client's.
    if (sqlstate !== '' && this.#before !== null) this.state.own = this.#before.own
    this.#before = null
    const behind = this.#behind
    this.#behind = null
    const end = this.#copy.end() ? 'sync' : (behind?.end ?? asked)
    if (this.#activity === 'over') {
      this.state.leave()
      return
    }
    if (behind !== null && sqlstate === '') {
      if (behind.error === null) this.#prepare(behind)
      else this.#fail(behind.error, end, behind.items)
      return
    }
    if (end === 'flush') {
      if (sqlstate !== '') this.#isSkipping = true
      this.#idle()
      return
    }
    if (this.#runner.isOpen) {
      // It has failed before its end was reached.
      this.#alone({ work: syncOf([]), stays: false }, 'sync', [])
    } else if (hasImplicitLeft(this.state)) {
      endBehindQuery(this.state, this.#runner).then(
        () => this.#over(),
        (error: unknown) => this.#die(error),
      )
    } else this.#over()
  }

  /** The Sync, or the Query, is answered. */
  #over(): void {
    this.state.endImplicit()
    this.#ready()
  }

  #ready(): void {
    const { state } = this
    const { status } = state
    if (this.#activity === 'over') {
      state.leave()
      return
    }
    if (!this.#isQuery) this.#isSkipping = false
    state.report()
    writeReadyForQuery(state.output.writer, status)
    if (this.#shutDown !== null && state.transaction === null) this.#die(this.#shutDown)
    else this.#idle()
  }

  #idle(): void {
    this.#activity = this.state.transaction === null ? 'idle' : 'idle in transaction'
    const next = this.#next
    this.#next = null
    if (next !== null) {
      this.message(next.type, next.bytes, 0, next.bytes.length)
      // Whatever it has begun lets the next ones in.
      if (this.activity === 'active' || this.activity === 'over') return
    }
    this.#parts.client.connection.release()
  }

  /** Tells the client why, and ends its connection. */
  #die(error: unknown): void {
    if (this.#activity === 'over') return
    const { connection } = this.#parts.client
    if (!connection.isGone) writeThrown(connection.output.writer, error, 'FATAL')
    connection.end()
    this.gone()
  }
}
