// The one error class: a code of the catalogue with the particular said in words.
import { ERRORS, type ErrorCode } from './catalogue.ts'
import type { ErrorSpec } from './error-spec.ts'

/** What an error may carry besides its code and message. */
export interface FleetErrorFields {
  /** What to do next, one sentence. */
  readonly hint?: string
  readonly cause?: unknown
  /** SQLSTATE that outranks the catalogue's (a Postgres error that is passed on). */
  readonly sqlstate?: string
  /** HTTP status that outranks the catalogue's. */
  readonly status?: number
  readonly retryable?: boolean
  /** Further facts for the answer: JSON values, snake_case names, no secrets. */
  readonly facts?: Readonly<Record<string, string | number | boolean | null>>
}

/** An error of the catalogue. The message says what and why; `hint` says what to do. */
export class FleetError extends Error {
  override readonly name = 'FleetError'
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly sqlstate: string
  readonly status: number
  readonly retryable: boolean
  readonly facts: Readonly<Record<string, string | number | boolean | null>>

  constructor(code: ErrorCode, message: string, fields: FleetErrorFields = {}) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    const spec: ErrorSpec = ERRORS[code]
    this.code = code
    this.hint = fields.hint
    this.sqlstate = fields.sqlstate ?? spec.sqlstate
    this.status = fields.status ?? spec.status
    this.retryable = fields.retryable ?? spec.retryable
    this.facts = fields.facts ?? {}
  }

  /** The same error with further facts; what it says of itself stays. */
  withFacts(facts: FleetError['facts']): FleetError {
    return new FleetError(this.code, this.message, {
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      sqlstate: this.sqlstate,
      status: this.status,
      retryable: this.retryable,
      cause: this,
      facts: { ...this.facts, ...facts },
    })
  }
}

/** True for a FleetError, with that code if one is given. */
export function isFleetError(error: unknown, code?: ErrorCode): error is FleetError {
  return error instanceof FleetError && (code === undefined || error.code === code)
}

/** Any thrown value as a FleetError; what is not one becomes `internal` with the cause kept. */
export function toFleetError(error: unknown): FleetError {
  if (error instanceof FleetError) return error
  return new FleetError('internal', 'an unexpected error; the log has the details', { cause: error })
}
