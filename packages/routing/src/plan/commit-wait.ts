// Keyspaces under `protection` acknowledge no commit that a replica has not confirmed. What would let a session commit
// without waiting is refused here by its text, whatever the way it came.
import { FleetError, type ShardMap } from '@fleetshard/core'

/** Everything else is not looked at any closer. */
const suspicious = /synchronous_commit|set_config|u&"/i
/** Values under which a commit waits for its replicas. */
const waiting = /^(?:on|remote_apply|default|true|yes|1)$/i
const setting = /^\s*set\s+(?:(?:session|local)\s+)?synchronous_commit\s*(?:to\s|=)\s*('?)(\w+)\1\s*;?\s*$/i
const asking = /^\s*(?:show|reset)\s+synchronous_commit\s*;?\s*$/i
/** A call that sets something else, by a name that can be read. */
const otherSetting = /\b(?:pg_catalog\s*\.\s*)?set_config\s*\(\s*'(?!synchronous_commit')[a-z_.0-9]+'\s*,/gi
const reading = /\bcurrent_setting\s*\(\s*'synchronous_commit'|\bname\s*=\s*'synchronous_commit'/gi

/** True for the keyspaces whose commits always wait. */
export const isProtected = ({ snapshot }: Pick<ShardMap, 'snapshot'>): boolean =>
  snapshot.keyspace.durability === 'protection'

/**
 * Refuses a statement that sets `synchronous_commit` below `on`, or might: by SET, set_config, a role, a database or a
 * function. @throws FleetError `statement_refused`
 */
export function refuseUnprotected(text: string, map: Pick<ShardMap, 'snapshot'>): void {
  if (!isProtected(map) || !suspicious.test(text) || !mayWeaken(text)) return
  throw new FleetError(
    'statement_refused',
    'the keyspace is under protection: synchronous_commit stays on, so that no commit is acknowledged before a replica has it',
    {
      hint: 'leave synchronous_commit as it is, and name the setting of set_config by a plain literal; values that only mention it go as parameters',
    },
  )
}

/** As `refuseUnprotected`, for one setting of a startup message. @throws FleetError `statement_refused` */
export function refuseUnprotectedSetting(name: string, value: string, map: ShardMap): void {
  if (name.toLowerCase() === 'synchronous_commit' && !waiting.test(value)) {
    refuseUnprotected(`set synchronous_commit = '${value}'`, map)
  }
}

function mayWeaken(text: string): boolean {
  if (asking.test(text)) return false
  const set = setting.exec(text)
  if (set !== null) return !waiting.test(set[2] ?? '')
  const rest = text.replaceAll(otherSetting, '')
  // pg_settings can be written to.
  const isRead = /^\s*(?:select|with|table|explain)\b/i.test(text) && !/\bupdate\b/i.test(text)
  return suspicious.test(isRead ? rest.replaceAll(reading, '') : rest)
}
