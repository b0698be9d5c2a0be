// The way through a router, for statements whose shard cannot be reached from here though direct mode works: a server
// behind a firewall, one that is being moved, a login that nobody tells. What may have happened already is never sent
// again.
import { FleetError, outcomeOf, type Clock, type ErrorCode } from '@fleetshard/core'
import { toFleetShardError, type FleetShardError } from '../errors.ts'
import type {
  Backend,
  CallOptions,
  OpenTransaction,
  Result,
  Row,
  RowBatch,
  Statement,
  Target,
  TransactionOptions,
} from '../statement.ts'

/** While a shard cannot be reached one statement tries it so often; the others go through a router at once. */
const tryAgainMs = 1_000

/** What a router may do better at: it has another way to the servers, and other logins. */
const UNREACHABLE: readonly ErrorCode[] = ['shard_unavailable', 'secret_unavailable', 'direct_refused']

/** What the way is made of. */
export interface RouterWayParts {
  readonly clock: Clock
  readonly http: Backend
}

interface Away {
  readonly reason: FleetShardError
  /** `clock.monotonic()` from when on the next statement tries the shard itself. */
  untilMs: number
}

/** Knows which shards cannot be reached, and runs their statements through a router. */
export class RouterWay {
  readonly #parts: RouterWayParts
  /** By the shard's id. */
  readonly #away = new Map<string, Away>()

  constructor(parts: RouterWayParts) {
    this.#parts = parts
  }

  /** Why statements go through a router at the moment; null when none does. */
  get reason(): FleetShardError | null {
    for (const { reason } of this.#away.values()) return reason
    return null
  }

  /** To be asked before a shard is used. @throws FleetShardError why it is passed by, without another try */
  check(shardId: string): void {
    const away = this.#away.get(shardId)
    if (away === undefined) return
    const now = this.#parts.clock.monotonic()
    if (now < away.untilMs) throw away.reason
    away.untilMs = now + tryAgainMs
  }

  /** A statement on that shard was answered. */
  reached(shardId: string): void {
    if (this.#away.size > 0) this.#away.delete(shardId)
  }

  /** The map has changed: servers may be where they can be reached. */
  mapChanged(isShard: (shardId: string) => boolean): void {
    for (const [shardId, away] of this.#away) {
      if (isShard(shardId)) away.untilMs = 0
      else this.#away.delete(shardId)
    }
  }

  /**
   * True when the call may go through a router: the shard could not be reached, and nothing has happened, or a key
   * keeps it from happening twice.
   */
  helps(error: unknown, { idempotencyKey, signal }: Pick<CallOptions, 'idempotencyKey' | 'signal'>): boolean {
    if (signal?.aborted === true) return false
    const reason = toFleetShardError(error)
    const isSafe = reason.code === 'outcome_unknown' ? idempotencyKey !== undefined : isUnreachable(reason)
    if (!isSafe) return false
    this.#remember(reason)
    return true
  }

  execute(failure: unknown, statement: Statement, timeoutMs: number): Promise<Result> {
    const options = { ...statement.options, timeoutMs }
    return told(failure, () => this.#parts.http.execute({ ...statement, options }))
  }

  begin(
    failure: unknown,
    target: Target,
    options: TransactionOptions & { readonly timeoutMs: number },
  ): Promise<OpenTransaction> {
    return told(failure, () => this.#parts.http.begin(target, options))
  }

  async *stream(failure: unknown, statement: Statement): AsyncGenerator<RowBatch<Row>, void, void> {
    const batches = this.#parts.http.stream(statement)
    try {
      let step = await told(failure, () => batches.next())
      while (step.done !== true) {
        yield step.value
        step = await batches.next()
      }
    } finally {
      await batches.return()
    }
  }

  #remember(reason: FleetShardError): void {
    const shardId = reason.facts['shard_id']
    // Of a shard that is known to be away the first reason stays.
    if (typeof shardId !== 'string' || this.#away.has(shardId)) return
    this.#away.set(shardId, { reason, untilMs: this.#parts.clock.monotonic() + tryAgainMs })
  }
}

const isUnreachable = ({ code, outcome }: FleetShardError): boolean =>
  outcome === 'aborted' && UNREACHABLE.includes(code)

/** Where there is no router either, what is wrong with the shard says more. */
async function told<T>(failure: unknown, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    const isGone =
      error instanceof FleetError && error.code === 'server_unreachable' && outcomeOf(error) === 'aborted'
    throw isGone ? failure : error
  }
}
