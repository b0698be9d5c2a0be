// A session of the Postgres wire protocol: takes the messages of one client in their order, runs what belongs together
// as one piece, and answers. One piece at a time: the next is looked at when the one before is answered.
import { FleetError, isFleetError, toFleetError } from '@fleetshard/core'
import { Cancellation } from '@fleetshard/routing/execute'
import {
  backendCode,
  frontendCode,
  messageHeaderBytes,
  writeBare,
  writeCommandComplete,
  writeReadyForQuery,
  writeTextColumns,
  writeTextRow,
} from '@fleetshard/routing/pgwire'
import { lexQuery } from '@fleetshard/routing/plan'
import type { EnteredClient, WireClientSession } from '../listeners/pgwire/listener.ts'
import { writeThrown } from '../listeners/pgwire/errors.ts'
import { CopyIn } from './copy-in.ts'
import type { SessionEnvironment } from './environment.ts'
import { fatalOf, refusalOf } from './errors.ts'
import { extendedWork } from './extended-work.ts'
import { GroupCollector, noFunctionCalls, queryText, refuseText } from './group-collector.ts'
import type { GroupItem } from './group-items.ts'
import { greet } from './greeting.ts'
import { ownResultOf } from './own-commands.ts'
import { askToParse, isTooDeep, prepare, teachByName, unseenStatement, type Unready } from './prepare.ts'
import { isPlain, queryWork, type QueryStatement } from './query-work.ts'
import { runAlone, type Ran } from './run-alone.ts'
import { beginInLane, type LaneEnd, type LaneRead } from './run-lane.ts'
import { GroupRunner, hiddenQuery, poison, type Held } from './server-side.ts'
import { SessionState, type SessionStart } from './session-state.ts'
import { PieceFigures } from './piece-figures.ts'
import { OpenTransaction } from './transaction-state.ts'
import { checkPrepare, executeWork } from './sql-prepared.ts'
import type { Behind, PieceEnd, Work } from './work.ts'

/** What a session is made of. */
export interface WireSessionParts {
  readonly environment: SessionEnvironment
  readonly client: EnteredClient
  readonly start: SessionStart
  /** Told when the session is over. */
  readonly onEnd: () => void
}

/** What the client is doing, for SHOW CLIENTS. */
export type Activity = 'greeting' | 'idle' | 'idle in transaction' | 'active' | 'over'

/** One client's session. */
export class WireSession implements WireClientSession {
  readonly #parts: WireSessionParts
  readonly state: SessionState
  readonly #runner: GroupRunner
  #activity: Activity = 'greeting'
  readonly #collector: GroupCollector
  /** After an error everything up to the next Sync is passed over. */
  #isSkipping = false
  /** A Query that came before the group in front of it had its Sync: it is run behind that. */
  #nextQuery: Buffer | null = null
  #read: LaneRead | null = null
  /** What failed behind the part of a piece that runs now. */
  #behind: Behind | null = null
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
    this.#runner = new GroupRunner(connection.output, (held) => {
      this.#copy.begin(held, this.#isQuery)
    })
    this.#copy = new CopyIn(connection, this.#runner)
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
      () => {
        this.#ready()
      },
      (error: unknown) => {
        this.#die(error)
      },
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
    this.#copy.abort()
    this.#runner.abandon()
    // What runs ends first: its end gives the connection back.
    if (!wasActive || this.#runner.running === null) this.state.leave()
    this.#parts.onEnd()
  }

  broken(error: FleetError): void {
    this.#die(error)
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
        this.#query(buf, start, end)
        return
      case frontendCode.flush:
        if (!this.#collector.isEmpty) this.#piece('flush')
        return
      case frontendCode.functionCall:
        this.#enter(true)
        this.#fail(noFunctionCalls(), 'sync')
        return
      default:
        this.#collector.add(type, buf, start, end)
        if (this.#collector.isFull) this.#piece('flush')
    }
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
    if (this.#isSkipping || (items.length === 0 && failure === null)) {
      if (end === 'sync') this.#isSkipping = false
      this.#finish(end, '')
      return
    }
    const broken = failure === null ? null : { ready: items.length, error: failure }
    const finding = prepare(this.state, this.#runner, items)
    if (finding === null) this.#runReady(items, end, broken)
    else {
      void finding.then((unready) => {
        this.#runReady(items, end, unready ?? broken)
      })
    }
  }

  /** What is in front of something wrong is answered before the client hears of that, as a server would. */
  #runReady(items: readonly GroupItem[], end: PieceEnd, unready: Unready | null): void {
    if (unready === null) {
      this.#runItems(items, end)
      return
    }
    const ready = items.slice(0, unready.ready)
    if (ready.length === 0) this.#fail(unready.error, end, items)
    else {
      this.#behind = { error: unready.error, end, items }
      this.#runItems(ready, 'flush')
    }
  }

  #runItems(items: readonly GroupItem[], end: PieceEnd): void {
    const { state } = this
    const { variables } = state
    const runs = items.some(({ kind }) => kind === 'bind' || kind === 'execute')
    if (end === 'flush' && runs && state.transaction === null) {
      // Up to the Sync it is one implicit transaction, though parts of it are answered before.
      state.transaction = new OpenTransaction('begin', state.settings, false)
    }
    try {
      const { work, own } = extendedWork(state, items)
      if (work !== null) {
        this.#run(work, end, items)
        return
      }
      for (const answer of own) state.output.copy(answer, 0, answer.length)
      this.#finish(end, '')
    } catch (error) {
      state.variables = variables
      this.#fail(error, end, items)
    }
  }

  #query(buf: Buffer, start: number, end: number): void {
    const text = queryText(buf, start, end)
    if (!this.#collector.isEmpty) {
      this.#nextQuery = Buffer.from(buf.subarray(start, end))
      this.#piece('flush')
      return
    }
    this.#enter(true)
    this.state.statements.delete('')
    try {
      this.#runQuery(text, buf, start)
    } catch (error) {
      this.#fail(error, 'sync')
    }
  }

  #runQuery(text: string, buf: Buffer, start: number): void {
    refuseText(text, this.state.map, buf, start + messageHeaderBytes)
    const lexed = lexQuery(text)
    if (lexed.length === 0) {
      writeBare(this.state.output.writer, backendCode.emptyQueryResponse)
      this.#finish('sync', '')
      return
    }
    const [only] = lexed
    // The way of most queries, without a promise.
    const known = only !== undefined && lexed.length === 1 ? this.#knownOf(only) : null
    if (known !== null && isPlain(known)) {
      if (!this.#answerOwn(known)) this.#run(queryWork(text, [known]), 'sync', [])
    } else {
      this.#findOut(text, lexed).catch((error: unknown) => {
        this.#fail(error, 'sync')
      })
    }
  }

  #knownOf(lexed: QueryStatement['lexed']): QueryStatement | null {
    const known = this.#parts.environment.statements.get(lexed.key)
    return known === null ? null : { lexed, known }
  }

  async #findOut(text: string, lexed: readonly QueryStatement['lexed'][]): Promise<void> {
    const known: QueryStatement[] = []
    for (const one of lexed)
      known.push(this.#knownOf(one) ?? { lexed: one, known: await this.#load(text, one) })
    const only = known.length === 1 ? known[0] : undefined
    if (only !== undefined) await checkPrepare(this.state, this.#runner, only.known)
    if (only !== undefined && this.#answerOwn(only)) return
    for (const one of known) await teachByName(this.state, this.#runner, one.known)
    const use = only === undefined ? null : await executeWork(this.state, this.#runner, only.known)
    this.#run(use ?? queryWork(text, known), 'sync', [])
  }

  async #load(text: string, lexed: QueryStatement['lexed']): Promise<QueryStatement['known']> {
    const { state } = this
    try {
      return await state.cancellation.until(this.#parts.environment.statements.loadLexed(lexed))
    } catch (error) {
      if (isTooDeep(error) && state.map.owners.length <= 1) return unseenStatement(state, text)
      if (isFleetError(error, 'sql_syntax')) await askToParse(state, this.#runner, text)
      throw error
    }
  }

  #answerOwn({ lexed, known }: QueryStatement): boolean {
    const { state } = this
    const result = ownResultOf(state, { known, text: lexed.text, place: 'alone', lexed })
    if (result === null) return false
    const { writer } = state.output
    result.run(writer)
    if (result.columns !== null) writeTextColumns(writer, result.columns)
    for (const row of result.rows) writeTextRow(writer, row)
    writeCommandComplete(writer, result.tag)
    this.#finish('sync', '')
    return true
  }

  #run(work: Work, end: PieceEnd, items: readonly GroupItem[]): void {
    this.#figures.planned(work)
    if (end === 'sync') {
      this.#read = beginInLane(this.state, work, (laneEnd) => {
        this.#laneOver(laneEnd, work, items)
      })
      if (this.#read !== null) return
    }
    this.#alone(work, end, items)
  }

  #alone(work: Work, end: PieceEnd, items: readonly GroupItem[]): void {
    runAlone(this.state, this.#runner, work, {
      ran: (ran) => {
        if (ran.sqlstate !== '') this.#collector.doubt(items)
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
        if (laneEnd.sqlstate !== '') this.#collector.doubt(items)
        this.#finish('sync', laneEnd.sqlstate, laneEnd)
        return
      case 'alone':
        if (laneEnd.why !== null) this.#parts.environment.metrics.retried(laneEnd.why)
        this.#alone(work, 'sync', items)
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
    this.#collector.doubt(items)
    if (isFleetError(thrown, 'internal')) {
      this.#parts.environment.log.error({ err: thrown.cause ?? thrown }, 'a session had a defect')
    }
    const { bytes, sqlstate } = refusalOf(thrown)
    this.#figures.failed(thrown, this.state.map)
    const { state } = this
    const { held, transaction } = state
    if (transaction !== null && held?.session.connection.transactionStatus === 'transaction') {
      this.#poison(held, bytes).then(
        () => {
          this.#finish(end, sqlstate)
        },
        (error: unknown) => {
          this.#die(error)
        },
      )
      return
    }
    if (transaction !== null && held === null) transaction.failure ??= toFleetError(thrown)
    state.output.copy(bytes, 0, bytes.length)
    if (transaction === null) state.release()
    this.#finish(end, sqlstate)
  }

  async #poison(held: Held, bytes: Buffer): Promise<void> {
    const { end } = await this.#runner.run(held, poison(bytes))
    if (end.kind !== 'lost') return
    this.state.output.copy(bytes, 0, bytes.length)
    this.state.lose(end.error)
  }

  #finish(asked: PieceEnd, sqlstate: string, ran?: Pick<Ran, 'rows' | 'shard'>): void {
    this.#figures.end(sqlstate, ran)
    const behind = this.#behind
    this.#behind = null
    const end = this.#copy.end() ? 'sync' : (behind?.end ?? asked)
    if (this.#activity === 'over') {
      this.state.leave()
      return
    }
    if (behind !== null && sqlstate === '') {
      this.#fail(behind.error, end, behind.items)
      return
    }
    if (end === 'flush') {
      if (sqlstate !== '') this.#isSkipping = true
      this.#idle()
      return
    }
    if (this.state.transaction?.isClients === false) {
      this.#endPipeline().then(
        () => {
          this.#ready()
        },
        (error: unknown) => {
          this.#die(error)
        },
      )
    } else this.#ready()
  }

  /** The Sync behind what was run in parts: the transaction around it ends. */
  async #endPipeline(): Promise<void> {
    const { state } = this
    const { held, transaction } = state
    state.transaction = null
    state.portals.clear()
    if (held === null || transaction?.pin === 'none') return
    const isFailed = held.session.connection.transactionStatus === 'failed'
    const { answer, end } = await this.#runner.run(held, hiddenQuery(isFailed ? 'rollback' : 'commit'))
    if (end.kind === 'lost') {
      state.lose(end.error)
      throw end.error
    }
    if (answer.error !== null) state.output.copy(answer.error, 0, answer.error.length)
    if (isFailed || answer.error !== null) state.settings = transaction?.settingsBefore ?? state.settings
    held.session.settings = state.settings
    state.release()
  }

  #ready(): void {
    const { state } = this
    const { status } = state
    if (this.#activity === 'over') {
      state.leave()
      return
    }
    if (!this.#isQuery) this.#isSkipping = false
    state.reportName()
    writeReadyForQuery(state.output.writer, status)
    if (this.#shutDown !== null && state.transaction === null) this.#die(this.#shutDown)
    else this.#idle()
  }

  #idle(): void {
    this.#activity = this.state.transaction === null ? 'idle' : 'idle in transaction'
    const query = this.#nextQuery
    this.#nextQuery = null
    if (query !== null && !this.#isSkipping) {
      this.#query(query, 0, query.length)
      return
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
