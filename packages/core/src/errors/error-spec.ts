// The form of a line of the error catalogue.

/** One line of the catalogue. `cause` and `remedy` are for the documentation; messages say the particular. */
export interface ErrorSpec {
  /** HTTP status. */
  readonly status: number
  /** SQLSTATE, five characters, on the Postgres wire. */
  readonly sqlstate: string
  /** True when the same request may succeed later without a change. */
  readonly retryable: boolean
  readonly title: string
  readonly cause: string
  readonly remedy: string
}
