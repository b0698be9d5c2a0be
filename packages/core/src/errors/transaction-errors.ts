// The part of the error catalogue about transactions over several requests and writes under an idempotency key.
import type { ErrorSpec } from './error-spec.ts'

/** Part of `ERRORS`. */
export const TRANSACTION_ERRORS = {
  // Transactions over several requests
  transaction_not_found: {
    status: 404,
    sqlstate: '25P01',
    retryable: false,
    title: 'There is no such open transaction',
    cause: 'It was ended, timed out and was rolled back, or was begun on another router.',
    remedy: 'Begin a new one; send all requests of a transaction to the router that began it, in time.',
  },
  transaction_aborted: {
    status: 409,
    sqlstate: '25P02',
    retryable: false,
    title: 'The transaction was rolled back',
    cause: 'An earlier statement of it failed, or the connection to the shard was lost.',
    remedy: 'Begin a new transaction and send all its statements again.',
  },
  transaction_busy: {
    status: 409,
    sqlstate: '55006',
    retryable: true,
    title: 'The transaction works on another request',
    cause: 'A second request for a transaction came before the first was answered.',
    remedy: 'Send the requests of a transaction one after the other.',
  },
  // Idempotency keys
  idempotency_mismatch: {
    status: 422,
    sqlstate: '22023',
    retryable: false,
    title: 'The idempotency key was used for something else',
    cause: 'A record under the key has another statement or other parameters than the request.',
    remedy: 'Use a new key for each write; send a repetition exactly as the first request.',
  },
  replay_without_rows: {
    status: 409,
    sqlstate: '54000',
    retryable: false,
    title: 'The write was done before, and its rows are not kept',
    cause:
      'The request repeats one that was done; its rows were too large for the record, row_count tells how many.',
    remedy: 'Read the rows; the write itself is done and must not be sent under another key.',
  },
} as const satisfies Record<string, ErrorSpec>
