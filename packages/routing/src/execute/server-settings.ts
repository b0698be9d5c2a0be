// What every connection to a shard's servers is opened with.
import type { ExecuteLimits } from './limits.ts'

/** Settings of every session: results are read by their text form, so what shapes it is fixed. */
export const sessionSettings = {
  client_encoding: 'UTF8',
  DateStyle: 'ISO, MDY',
  // The check of a new connection must see what was committed while it waited for the fence's lock.
  default_transaction_isolation: 'read committed',
  bytea_output: 'hex',
  extra_float_digits: '1',
  standard_conforming_strings: 'on',
  // Above what roles and databases have: a session may ask for less, where its keyspace is not under protection.
  synchronous_commit: 'on',
}

/** A read in a lane that waits longer than this for a lock goes to a session of its own. */
const laneLockTimeoutMs = 50

/** Those of a lane: it reads, and waits for nobody long. */
export const laneSettings = (limits: ExecuteLimits): Record<string, string> => ({
  ...sessionSettings,
  default_transaction_read_only: 'on',
  lock_timeout: String(laneLockTimeoutMs),
  statement_timeout: String(limits.statementTimeoutMs),
})
