// Where a client says a statement belongs: hints in comments (`/* fleetshard: shard_key='user-1' */`), settings of its
// session, and what comes with a request. A hint outranks the session; both outrank what the statement shows, though
// a key that the statement shows must lie on that shard as well (ADR 0003).
import { FleetError } from '@fleetshard/core'

/** Where a client says a statement belongs. */
export type RouteTarget =
  | { readonly kind: 'none' }
  | { readonly kind: 'key'; readonly key: string }
  | { readonly kind: 'shard'; readonly shard: string }

/** Nothing is said. */
export const noTarget: RouteTarget = { kind: 'none' }

/** Settings that a listener keeps for a session, instead of sending them to a server. */
export const ROUTE_SETTINGS = ['fleetshard.shard_key', 'fleetshard.shard'] as const
type RouteSetting = (typeof ROUTE_SETTINGS)[number]

/** The values of these settings; null or empty where one is not set. */
export interface RouteSettings {
  readonly shardKey: string | null
  readonly shard: string | null
}

/** True for a setting, in lower case, that is the router's own. */
export const isRouteSetting = (name: string): name is RouteSetting =>
  (ROUTE_SETTINGS as readonly string[]).includes(name)

/**
 * Where the settings of a session send a statement.
 * @throws FleetError `invalid_request` when both are set
 */
export function sessionTarget({ shardKey, shard }: RouteSettings): RouteTarget {
  const key = shardKey === '' ? null : shardKey
  const named = shard === '' ? null : shard
  if (key !== null && named !== null) {
    throw new FleetError('invalid_request', 'fleetshard.shard_key and fleetshard.shard are both set', {
      hint: 'RESET one of them',
    })
  }
  if (key !== null) return { kind: 'key', key }
  return named === null ? noTarget : { kind: 'shard', shard: named }
}

/** What counts: the hint of a statement, else the target of its session. */
export const targetOf = (hint: RouteTarget, session: RouteTarget): RouteTarget =>
  hint.kind === 'none' ? session : hint

const opening = /^\s*fleetshard:/i
/** `name = 'value'`, quotes doubled inside, nothing else in the comment. */
const assignment = /^\s*fleetshard:\s*(\w+)\s*=\s*'((?:[^']|'')*)'\s*$/i

/** True for the text between the signs of a comment that is meant as a hint. */
export const isHint = (comment: string): boolean => opening.test(comment)

/**
 * Reads the text between the signs of a hint.
 * @throws FleetError `invalid_request` when it is malformed: a hint that were ignored would send rows elsewhere
 */
export function parseHint(comment: string): RouteTarget {
  const match = assignment.exec(comment)
  const name = match?.[1]?.toLowerCase()
  const value = (match?.[2] ?? '').replaceAll("''", "'")
  if (value !== '') {
    if (name === 'shard_key') return { kind: 'key', key: value }
    if (name === 'shard') return { kind: 'shard', shard: value }
  }
  throw new FleetError(
    'invalid_request',
    `the hint ${JSON.stringify(comment.trim().slice(0, 100))} is malformed`,
    {
      hint: "write /* fleetshard: shard_key='user-1' */ or /* fleetshard: shard='shard-01' */ before or after the statement",
    },
  )
}

/** Puts the hints of one statement together. @throws FleetError `invalid_request` for two that differ */
export function joinHints(one: RouteTarget, other: RouteTarget): RouteTarget {
  if (one.kind === 'none') return other
  if (other.kind === 'none' || JSON.stringify(one) === JSON.stringify(other)) return one
  throw new FleetError('invalid_request', 'the statement has two hints that differ', {
    hint: 'leave one of them',
  })
}
