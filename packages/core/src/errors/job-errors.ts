// The part of the catalogue about jobs that may not begin or go on.
import type { ErrorSpec } from './error-spec.ts'

/** Part of ERRORS. */
export const JOB_ERRORS = {
  reshard_refused: {
    status: 409,
    sqlstate: '55000',
    retryable: false,
    title: 'The rows cannot be moved',
    cause: 'A shard, a table or a server does not allow the move, or changed while it was under way.',
    remedy: 'Do what the message names, then start the move again; nothing was changed for the applications.',
  },
  failover_refused: {
    status: 409,
    sqlstate: '55000',
    retryable: false,
    title: 'No other node may lead the shard',
    cause: 'The old primary could not be fenced, or no replica has what it acknowledged.',
    remedy:
      'See why: fleetshard failover explain; bring a server back, or decide with fleetshard shard promote --force.',
  },
} as const satisfies Readonly<Record<string, ErrorSpec>>
