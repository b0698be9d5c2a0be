// The settings that the router keeps for a session itself: its own (`fleetshard.…`), and those that every server
// connection must have as the router has them.
import {
  FleetError,
  emptySessionToken,
  formatSessionToken,
  parseSessionToken,
  toFleetError,
  type SessionToken,
  type ShardMap,
} from '@fleetshard/core'
import type { ReadTerms } from '@fleetshard/routing/execute'
import { noTarget, sessionTarget, type RouteTarget } from '@fleetshard/routing/plan'
import { isOfRouter } from '@fleetshard/routing/shard-state'

/** Consistency of reads. */
type Consistency = 'strong' | 'eventual' | 'bounded'

/** The router's own settings of a session. */
export const OWN_SETTINGS = [
  'fleetshard.shard_key',
  'fleetshard.shard',
  'fleetshard.consistency',
  'fleetshard.max_staleness_ms',
  'fleetshard.session_token',
] as const

/** Values of one session. Immutable. */
export interface Variables {
  readonly shardKey: string
  readonly shard: string
  /** Empty for that of the keyspace. */
  readonly consistency: Consistency | ''
  /** Digits; empty for none. */
  readonly maxStalenessMs: string
  /** What the session has seen and written; null for one whose client wants no token. */
  readonly sessionToken: SessionToken | null
  readonly applicationName: string
}

/** Nothing is set. */
export const noVariables: Variables = {
  shardKey: '',
  shard: '',
  consistency: '',
  maxStalenessMs: '',
  sessionToken: null,
  applicationName: '',
}

/** The router's own settings as they are in a transaction and as they stand once it has committed. Immutable. */
export interface OwnSettings {
  readonly current: Variables
  /** Without what SET LOCAL has set. */
  readonly lasting: Variables
}

/** Settings that no SET LOCAL has touched. */
export const lastingly = (variables: Variables): OwnSettings => ({ current: variables, lasting: variables })

const fields: Readonly<Record<string, keyof Variables>> = {
  'fleetshard.shard_key': 'shardKey',
  'fleetshard.shard': 'shard',
  'fleetshard.consistency': 'consistency',
  'fleetshard.max_staleness_ms': 'maxStalenessMs',
  'fleetshard.session_token': 'sessionToken',
  application_name: 'applicationName',
}

const applicationNameBytesMax = 63

/** As much of a name as Postgres keeps: no character is cut in two. */
export function cutName(name: string): string {
  if (Buffer.byteLength(name) <= applicationNameBytesMax) return name
  const bytes = Buffer.from(name)
  let end = applicationNameBytesMax
  // 10…… continues a character.
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1
  return bytes.toString('utf8', 0, end)
}

/** True for a setting, in lower case, that no server is told of. */
export const isOwnVariable = (name: string): boolean => name in fields || name.startsWith('fleetshard.')

/** The value as SHOW tells it. @throws FleetError with SQLSTATE 42704 for a setting that does not exist */
export function showVariable(variables: Variables, name: string): string {
  const value = variables[fieldOf(name)]
  return typeof value === 'string' ? value : formatSessionToken(value ?? emptySessionToken)
}

/** Without a value of its own. @throws FleetError with SQLSTATE 42704 for a setting that does not exist */
export function resetVariable(variables: Variables, name: string): Variables {
  return { ...variables, [fieldOf(name)]: noVariables[fieldOf(name)] }
}

/** @throws FleetError with SQLSTATE 42704 or 22023, as Postgres has them for a bad name and a bad value */
export function setVariable(variables: Variables, name: string, value: string): Variables {
  const field = fieldOf(name)
  if (field === 'sessionToken') return { ...variables, sessionToken: tokenFrom(name, value) }
  if (field === 'consistency' && value !== '' && !/^(?:strong|eventual|bounded)$/.test(value))
    throw badValue(name, value, 'Available values: strong, eventual, bounded.')
  if (field === 'maxStalenessMs' && !/^\d{0,9}$/.test(value))
    throw badValue(name, value, 'Available values: a number of milliseconds, or empty for no bound.')
  // As Postgres does: cut, and what is not printable ASCII replaced.
  const kept = field === 'applicationName' ? cutName(value).replaceAll(/[^\x20-\x7e]/g, '?') : value
  return { ...variables, [field]: kept }
}

function tokenFrom(name: string, value: string): SessionToken {
  try {
    return parseSessionToken(value)
  } catch (error) {
    throw badValue(name, value, toFleetError(error).message)
  }
}

const badValue = (name: string, value: string, hint: string): FleetError =>
  new FleetError('invalid_request', `invalid value for parameter "${name}": "${value.slice(0, 100)}"`, {
    sqlstate: '22023',
    hint,
  })

/**
 * What the session's reads ask of a replica; null when only the primary will do. A bound on staleness alone asks for
 * `bounded`.
 * @throws FleetError `invalid_request` for `bounded` without a bound
 */
export function readTermsOf(
  { consistency, maxStalenessMs, sessionToken }: Variables,
  { snapshot }: ShardMap,
): ReadTerms | null {
  const usual = maxStalenessMs === '' ? snapshot.keyspace.defaultConsistency : 'bounded'
  const wanted = consistency === '' ? usual : consistency
  if (wanted === 'strong') return null
  if (wanted === 'bounded' && maxStalenessMs === '') {
    throw new FleetError('invalid_request', 'fleetshard.consistency is bounded, but there is no bound', {
      sqlstate: '22023',
      hint: 'SET fleetshard.max_staleness_ms says how old what is read may be',
    })
  }
  return { token: sessionToken, maxStalenessMs: maxStalenessMs === '' ? null : Number(maxStalenessMs) }
}

/** Where the session's settings send a statement. @throws FleetError when they contradict each other */
export function targetOfSession({ shardKey, shard }: Variables): RouteTarget {
  if (shardKey === '' && shard === '') return noTarget
  return sessionTarget({ shardKey, shard })
}

function fieldOf(name: string): keyof Variables {
  const field = fields[name]
  if (field !== undefined) return field
  throw new FleetError('invalid_request', `unrecognized configuration parameter "${name}"`, {
    sqlstate: '42704',
    hint: `the router knows ${OWN_SETTINGS.join(', ')}`,
  })
}

/** Values of client_encoding under which texts are the UTF-8 that the router reads. */
const utf8Names = new Set(['utf8', 'utf-8', 'unicode', 'sqlascii'])

/** Settings by which texts are read. Servers tell of every change of them. */
const textSettings = ['client_encoding', 'standard_conforming_strings'] as const

/**
 * Looks at what a server has told of its settings: functions may change them past every SET.
 * @throws FleetError `statement_refused`, as `refuseSetting`, and for a connection that no fence would end any more
 */
export function refuseSettings(told: ReadonlyMap<string, string>): void {
  if (!isOfRouter(told)) {
    throw new FleetError('statement_refused', 'a function cannot change application_name', {
      hint: 'use SET application_name: by that of their connections routers are told apart from others',
    })
  }
  for (const name of textSettings) refuseSetting(name, told.get(name) ?? null)
}

/** @throws FleetError `statement_refused` for a setting under which the router could not read statements any more */
export function refuseSetting(name: string, value: string | null): void {
  if (value === null) return
  if (name === 'client_encoding' && !utf8Names.has(value.toLowerCase().replaceAll(/[\s_"']/g, ''))) {
    throw new FleetError(
      'statement_refused',
      `client_encoding ${JSON.stringify(value.slice(0, 40))} is not UTF8`,
      {
        hint: 'use UTF8: the router reads statements and shard keys as UTF-8',
      },
    )
  }
  if (name === 'standard_conforming_strings' && /^(off|false|no|0|f|n|of)$/i.test(value)) {
    throw new FleetError('statement_refused', 'standard_conforming_strings cannot be turned off', {
      hint: "write E'…' for strings with backslashes",
    })
  }
}
