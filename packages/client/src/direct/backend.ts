// The mode `direct`: statements go straight to the servers of the shards, planned, placed and executed by the same
// code as a router's.
import {
  FleetError,
  idempotencyKeyPattern,
  ownerOfUntyped,
  parseKey,
  parseShardId,
  type Clock,
  type ShardMap,
} from '@fleetshard/core'
import {
  Cancellation,
  type DeadlineSweeper,
  type Executor,
  type Idempotency,
  type RowsConsumer,
  type StatementAnswer,
} from '@fleetshard/routing/execute'
import { checkStatementText, type KnownStatement, type StatementCache } from '@fleetshard/routing/plan'
import { canceledBy, closedError } from '../errors.ts'
import type { Limits } from '../options.ts'
import type {
  Backend,
  CallOptions,
  Consistency,
  OpenTransaction,
  Result,
  Row,
  RowBatch,
  Statement,
  Target,
  TransactionOptions,
} from '../statement.ts'
import type { ClientSession } from '../session.ts'
import type { MapSource } from '../topology/map-source.ts'
import type { Gates } from './gates.ts'
import type { RouterWay } from './router-way.ts'
import { JsRows, type RowLimits } from './rows.ts'
import { StreamedRows } from './streamed-rows.ts'
import { DirectTransaction, type Bound, type DirectTransactionParts } from './transaction.ts'

/** Longest statement text, as routers have it. */
const statementCharactersMax = 1024 * 1024
/** A transaction that does nothing for so long is rolled back, as routers have it. */
const idleMsDefault = 30_000
/** No stream takes longer: it keeps the shard from removing old rows. */
const streamMsMax = 24 * 60 * 60_000
/** How long the outcome of a write under an idempotency key is remembered, as routers have it. */
const idempotencyExpiryMs = 24 * 60 * 60_000
/** Bytes of a result that is not streamed, as routers have it. */
const resultBytesMax = 64 * 1024 * 1024

/** What the mode is made of. */
export interface DirectParts {
  readonly clock: Clock
  readonly sweeper: DeadlineSweeper
  readonly statements: StatementCache
  readonly executor: Executor
  readonly topology: MapSource
  readonly limits: Limits
  readonly session: ClientSession
  readonly consistency: Consistency | undefined
  /** Lets as many transactions be open on a shard as its pool may hold. */
  readonly gates: Gates
  /** For shards that cannot be reached; null where there is no router, or none may be asked. */
  readonly router: RouterWay | null
  /** Ends what the mode holds open. */
  readonly close: () => Promise<void>
}

/** Statements straight to the shards. */
export class DirectBackend implements Backend {
  readonly #parts: DirectParts
  readonly #map: () => ShardMap
  readonly #rowLimits: RowLimits
  #closed = false

  constructor(parts: DirectParts) {
    this.#parts = parts
    this.#rowLimits = { rowsMax: parts.limits.rowsMax, bytesMax: resultBytesMax }
    this.#map = () => parts.topology.map()
  }

  async execute(statement: Statement): Promise<Result> {
    const bounds = this.#bound(statement.options)
    const { session, router } = this.#parts
    const sentAt = session.moment
    try {
      const rows = new JsRows(this.#rowLimits)
      const answer = await this.#run(statement, rows, bounds.cancellation)
      session.merge(answer.token, sentAt)
      router?.reached(answer.shard.id)
      return {
        rows: rows.rows,
        rowCount: answer.rowCount,
        replayed: answer.replayed,
        columns: rows.columns,
        shardId: answer.shard.id,
        node: answer.node,
        epoch: answer.epoch,
      }
    } catch (error) {
      const leftMs = this.#leftMs(bounds)
      if (router === null || leftMs < 1 || !router.helps(error, statement.options)) throw error
      return await router.execute(error, statement, leftMs)
    } finally {
      bounds.end()
    }
  }

  /** Whole milliseconds that are left of a call. */
  #leftMs({ untilMs }: Bound): number {
    return Math.floor(untilMs - this.#parts.clock.monotonic())
  }

  async *stream(statement: Statement): AsyncGenerator<RowBatch<Row>, void, void> {
    const { clock, sweeper, limits, session, router } = this.#parts
    const { signal, timeoutMs = limits.timeoutMs } = statement.options
    // The time is that of the server: how long the reader takes with its rows is not counted.
    const bounds = this.#bound({ timeoutMs: streamMsMax, ...(signal === undefined ? {} : { signal }) })
    const rows = new StreamedRows({ clock, sweeper, timeoutMs, cancellation: bounds.cancellation })
    const sentAt = session.moment
    const begun = async (): Promise<StatementAnswer> => this.#run(statement, rows, bounds.cancellation)
    const running = begun().then(
      ({ token, shard }) => {
        session.merge(token, sentAt)
        router?.reached(shard.id)
        rows.end()
      },
      (error: unknown) => {
        rows.fail(error)
      },
    )
    let failure: unknown = null
    try {
      for (let batch = await rows.next(); batch !== null; batch = await rows.next()) yield batch
    } catch (error) {
      if (router === null || rows.isFinal || !router.helps(error, statement.options)) throw error
      failure = error
    } finally {
      rows.leave()
      // Afterwards the connection is free, or gone.
      await running
      bounds.end()
    }
    if (router !== null && failure !== null) yield* router.stream(failure, statement)
  }

  /** Whoever calls it merges the answer's token into the session, and expects it to throw as well as to reject. */
  #run(statement: Statement, consumer: RowsConsumer, cancellation: Cancellation): Promise<StatementAnswer> {
    const { text } = statement
    const known = this.#known(text)
    // At once when the text is known, as it nearly always is: a promise costs as much as its analysis is worth.
    if (known !== null) return this.#send(known, statement, { consumer, cancellation })
    return this.#load(text, cancellation).then((loaded) =>
      this.#send(loaded, statement, { consumer, cancellation }),
    )
  }

  #send(
    known: KnownStatement,
    { text, params, target, options }: Statement,
    { consumer, cancellation }: { consumer: RowsConsumer; cancellation: Cancellation },
  ): Promise<StatementAnswer> {
    const wanted = this.#consistency(options)
    const { session, executor } = this.#parts
    const { shardKey, shardId, allShards } = placed(target)
    return executor.execute({
      known,
      params,
      consumer,
      shardKey,
      shardId,
      allShards,
      consistency: wanted === 'strong' ? 'strong' : 'eventual',
      token: session.tokenFor(text, wanted),
      asksPosition: session.isUsed,
      maxStalenessMs: typeof wanted === 'object' && 'maxStalenessMs' in wanted ? wanted.maxStalenessMs : null,
      readOnly: options.readOnly ?? false,
      idempotency: idempotencyOf(options),
      map: this.#map,
      cancellation,
    })
  }

  async begin(target: Target, options: TransactionOptions): Promise<OpenTransaction> {
    const bounds = this.#bound(options)
    const { executor, gates, router } = this.#parts
    let leave: (() => void) | null = null
    try {
      leave = await gates.enter(gateOf(target, this.#map()), bounds.cancellation)
      const held = await executor.begin({
        ...placed(target),
        options: { isolation: options.isolation ?? 'read committed', readOnly: options.readOnly ?? false },
        idleMs: options.idleTimeoutMs ?? idleMsDefault,
        map: this.#map,
        cancellation: bounds.cancellation,
      })
      void held.closed.then(leave)
      router?.reached(held.shard.id)
      return new DirectTransaction({ ...this.#transactionParts(), held, options })
    } catch (error) {
      leave?.()
      const leftMs = this.#leftMs(bounds)
      if (router === null || leftMs < 1 || !router.helps(error, options)) throw error
      return await router.begin(error, target, { ...options, timeoutMs: leftMs })
    } finally {
      bounds.end()
    }
  }

  #transactionParts(): Pick<DirectTransactionParts, 'known' | 'bound' | 'map' | 'rowLimits' | 'session'> {
    return {
      known: (text, cancellation) => this.#known(text) ?? this.#load(text, cancellation),
      bound: (options) => this.#bound(options),
      map: this.#map,
      rowLimits: this.#rowLimits,
      session: this.#parts.session,
    }
  }

  map(): ShardMap {
    return this.#parts.topology.map()
  }

  mapAgeMs(): number {
    return this.#parts.topology.ageMs()
  }

  newerMap(map: ShardMap): Promise<void> {
    return this.#parts.topology.newerThan(map, this.#parts.limits.newerMapMs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    await this.#parts.close()
  }

  #consistency({ consistency }: CallOptions): Consistency {
    return consistency ?? this.#parts.consistency ?? this.#map().snapshot.keyspace.defaultConsistency
  }

  #known(text: string): KnownStatement | null {
    return this.#parts.statements.get(text)
  }

  #load(text: string, cancellation: Cancellation): Promise<KnownStatement> {
    checkStatementText(text, statementCharactersMax)
    return cancellation.until(this.#parts.statements.load(text))
  }

  /** The deadline and the signal of a call as a cancellation. @throws FleetError `shutting_down` */
  #bound({
    signal,
    timeoutMs = this.#parts.limits.timeoutMs,
  }: Pick<CallOptions, 'signal' | 'timeoutMs'>): Bound {
    if (this.#closed) throw closedError()
    const cancellation = new Cancellation()
    const { sweeper, clock } = this.#parts
    const untilMs = clock.monotonic() + timeoutMs
    const stop = sweeper.watch(untilMs, () => {
      cancellation.cancel(
        new FleetError('deadline_exceeded', `the statement was not done after ${String(timeoutMs)} ms`, {
          hint: 'give it more time with timeoutMs',
        }),
      )
    })
    if (signal === undefined) return { cancellation, untilMs, end: stop }
    const onAbort = (): void => {
      cancellation.cancel(canceledBy(signal))
    }
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    return {
      cancellation,
      untilMs,
      end: () => {
        stop()
        signal.removeEventListener('abort', onAbort)
      },
    }
  }
}

/** The shard that a transaction will begin on, as far as the map at hand tells. */
function gateOf(target: Target, map: ShardMap): string {
  if (target.kind === 'shard') return target.id
  if (target.kind !== 'key') return ''
  return ownerOfUntyped(map, (type) => parseKey(target.key, type)).id
}

function placed(target: Target): {
  readonly shardKey: string | number | undefined
  readonly shardId: ReturnType<typeof parseShardId> | undefined
  readonly allShards: boolean
} {
  return {
    shardKey: target.kind === 'key' ? target.key : undefined,
    shardId: target.kind === 'shard' ? parseShardId(target.id) : undefined,
    allShards: target.kind === 'shard' && target.part,
  }
}

const idempotencyKey = new RegExp(idempotencyKeyPattern, 'u')

/** @throws FleetError `invalid_request` */
function idempotencyOf({ idempotencyKey: key }: CallOptions): Idempotency | null {
  if (key === undefined) return null
  if (idempotencyKey.test(key)) return { key, expiryMs: idempotencyExpiryMs }
  throw new FleetError('invalid_request', 'the idempotencyKey is not valid', {
    hint: 'give 1 to 255 printable characters',
  })
}
