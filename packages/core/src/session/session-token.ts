// Session tokens: what a client has written, as one position for each shard, so that its reads see it whatever router
// or replica they go to. Opaque to its holders, but for whoever must merge two of them.
import { FleetError } from '../errors/fleet-error.ts'

/** A position in a shard's log, on one timeline. */
export interface SessionPosition {
  readonly timeline: number
  readonly lsn: bigint
}

/** The positions of a session. */
export interface SessionToken {
  /** By `keyspace/shard`. */
  readonly positions: ReadonlyMap<string, SessionPosition>
  /** True when shards were written that have no position here: those are read at their primaries. */
  readonly hasMore: boolean
}

/** Positions that one token holds. */
export const tokenPositionsMax = 64
const tokenCharsMax = 12_000
const version = 'fs1'
const entryForm =
  /^([a-z_][a-z0-9_]{0,62}\/[A-Za-z0-9][A-Za-z0-9_-]{0,62})=([0-9a-f]{1,8})\.([0-9a-f]{1,16})$/
const moreMark = '*'

/** Nothing was written yet. */
export const emptySessionToken: SessionToken = { positions: new Map(), hasMore: false }

/** Later than every position: the write can't be placed, so only the primary surely has it. */
export const unknownPosition: SessionPosition = { timeline: 0, lsn: 0xffff_ffff_ffff_ffffn }

/** Names a shard in a token. */
export const sessionShardKey = (keyspace: string, shard: string): string => `${keyspace}/${shard}`

/** Reads a token; the empty text is a token that asks for one. @throws FleetError `invalid_request` */
export function parseSessionToken(text: string): SessionToken {
  if (text === '') return emptySessionToken
  const [first, ...entries] = text.length > tokenCharsMax ? [] : text.split(',')
  if (first !== version || entries.length > tokenPositionsMax + 1) throw unreadable()
  const positions = new Map<string, SessionPosition>()
  for (const entry of entries) {
    if (entry === moreMark) continue
    const [, key, timeline, lsn] = entryForm.exec(entry) ?? []
    if (key === undefined || timeline === undefined || lsn === undefined) throw unreadable()
    positions.set(key, { timeline: Number.parseInt(timeline, 16), lsn: BigInt(`0x${lsn}`) })
  }
  return { positions, hasMore: entries.includes(moreMark) }
}

/** The text of a token; that of an empty one is empty. */
export function formatSessionToken({ positions, hasMore }: SessionToken): string {
  if (positions.size === 0 && !hasMore) return ''
  const entries = [...positions].map(
    ([key, { timeline, lsn }]) => `${key}=${timeline.toString(16)}.${lsn.toString(16)}`,
  )
  return [version, ...entries, ...(hasMore ? [moreMark] : [])].join(',')
}

/** Everything that both have seen. Of too many positions those that were written last are kept. */
export function mergeSessionTokens(one: SessionToken, other: SessionToken): SessionToken {
  const positions = new Map(one.positions)
  for (const [key, position] of other.positions) {
    const known = positions.get(key)
    positions.delete(key)
    positions.set(key, known !== undefined && isBehind(position, known) ? known : position)
  }
  let hasMore = one.hasMore || other.hasMore
  for (const key of positions.keys()) {
    if (positions.size <= tokenPositionsMax) break
    positions.delete(key)
    hasMore = true
  }
  return { positions, hasMore }
}

/** A later timeline has all that survived of an earlier one. */
const isBehind = (one: SessionPosition, other: SessionPosition): boolean =>
  one.lsn !== unknownPosition.lsn &&
  (other.lsn === unknownPosition.lsn ||
    one.timeline < other.timeline ||
    (one.timeline === other.timeline && one.lsn < other.lsn))

const unreadable = (): FleetError =>
  new FleetError('invalid_request', 'the session token cannot be read', {
    hint: 'send the session_token of an earlier answer as it was, or an empty text to get one',
  })
