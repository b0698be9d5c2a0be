// Exit codes of the command line, and which error ends with which. docs/reference/cli.md lists them.
import type { FleetError } from '@fleetshard/core'

/** What the process ends with. Stable: scripts rely on it. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  auth: 3,
  notFound: 4,
  conflict: 5,
  timeout: 6,
  unhealthy: 7,
  interrupted: 130,
} as const

/** One of {@link EXIT}. */
export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

/** Each code in words, for the reference. */
export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'done',
  failed: 'failed; the error says why',
  usage: 'the command line or the configuration is not valid',
  auth: 'not signed in, or not allowed',
  notFound: 'no such shard, keyspace, table, node or job',
  conflict: 'the name is taken, the record has changed, or its state does not allow it',
  timeout: 'the time given was not enough',
  unhealthy: 'a server is unreachable or not ready',
  interrupted: 'interrupted by Ctrl-C',
}

const BY_STATUS: Readonly<Record<number, ExitCode>> = {
  401: EXIT.auth,
  403: EXIT.auth,
  404: EXIT.notFound,
  409: EXIT.conflict,
  412: EXIT.conflict,
  503: EXIT.unhealthy,
  504: EXIT.timeout,
}

/** The exit code of a command that failed with the error. */
export function exitCodeOf(error: FleetError): ExitCode {
  switch (error.code) {
    case 'invalid_usage':
    case 'invalid_config':
    case 'invalid_id':
    case 'invalid_request':
      return EXIT.usage
    case 'canceled':
      return EXIT.interrupted
    default:
      return BY_STATUS[error.status] ?? EXIT.failed
  }
}
