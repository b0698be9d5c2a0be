// What sessions meet by beside rows: advisory locks, notifications, large objects, sequences that a statement asks by
// themselves. One Postgres has one of each. A keyspace has them on its first shard, so that all sessions meet there: two
// that took a lock on different shards would both have it.
import type { StatementFacts } from './facts.ts'

/** Unlocking needs no place: what a session has locked has bound it to its connection, or is in its transaction. */
const meeting = /^(pg_(try_)?advisory_(xact_)?lock(_shared)?|pg_notify|lo_\w+|loread|lowrite)$/
/** Beside a key they count in the block of its shard, as the default of a column does. */
const counting = /^(nextval|setval)$/

/**
 * What of that a statement asks for, by the name that people know; null when it asks for nothing of it.
 * @param hasKeys it concerns rows of certain shards
 */
export function meetingIn(
  { command, functions }: Pick<StatementFacts, 'command' | 'functions'>,
  hasKeys: boolean,
): string | null {
  if (command.kind === 'listen' || command.kind === 'notify') return command.kind.toUpperCase()
  const name = functions.find((one) => meeting.test(one) || (!hasKeys && counting.test(one)))
  return name === undefined ? null : `${name}()`
}
