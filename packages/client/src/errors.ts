// The client's one error class, made from errors of the catalogue wherever they come from: a router's answer, the
// network, a shard's server. Adds to each what is known of the statement's outcome.
import { ERRORS, FleetError, outcomeOf, toFleetError, type ErrorCode, type Outcome } from '@fleetshard/core'

/** Codes of the error catalogue (docs/reference/errors.md). */
export type FleetShardErrorCode = ErrorCode

/** Further facts of an error: `shard_id`, `node`, `position`, … */
export type ErrorFacts = Readonly<Record<string, string | number | boolean | null>>

/**
 * Every error of the client. `switch (error.code)` tells them apart; the message says what and why, `hint` what to do.
 */
export class FleetShardError extends Error {
  override readonly name = 'FleetShardError'
  readonly code: FleetShardErrorCode
  /**
   * What is known of the statement. `aborted`: nothing of it happened. `committed`: it happened, only its answer could
   * not be had. `unknown`: it may have happened; read before you repeat it.
   */
  readonly outcome: Outcome
  /** True when the same call may succeed later without a change. */
  readonly retryable: boolean
  /** What to do next. */
  readonly hint: string
  /** SQLSTATE, that of Postgres for `sql_error`. */
  readonly sqlstate: string
  readonly facts: ErrorFacts

  /** @param outcome when it is known better than the error itself tells */
  constructor(error: FleetError, outcome?: Outcome) {
    super(error.message, { cause: error.cause ?? error })
    this.code = error.code
    this.outcome = outcome ?? outcomeOf(error)
    this.retryable = error.retryable
    this.hint = error.hint ?? ERRORS[error.code].remedy
    this.sqlstate = error.sqlstate
    this.facts = error.facts
  }
}

/** True for an error of the client, with that code if one is given. */
export function isFleetShardError(error: unknown, code?: FleetShardErrorCode): error is FleetShardError {
  return error instanceof FleetShardError && (code === undefined || error.code === code)
}

/** Any thrown value as an error of the client. */
export function toFleetShardError(error: unknown): FleetShardError {
  return error instanceof FleetShardError ? error : new FleetShardError(toFleetError(error))
}

/** The error of calls after the client was closed. */
export const closedError = (): FleetError =>
  new FleetError('shutting_down', 'the client is closed', { hint: 'connect anew', retryable: false })

/** The error of a call whose signal was aborted. */
export const canceledBy = (signal: AbortSignal | undefined): FleetError =>
  new FleetError('canceled', 'the call was given up by its signal', { cause: signal?.reason })
