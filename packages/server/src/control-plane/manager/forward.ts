// A change that reached a manager which does not lead goes on to the leader: one hop, within bounds.
import { certificateFault, FleetError, fromProblem, type Clock } from '@fleetshard/core'
import { traceparentOf, type Answer, type Call } from '../../runtime/http/mod.ts'
import type { IncomingHttpHeaders } from 'node:http'
import type { Fleet } from './fleet.ts'
import type { Leader } from './leader.ts'

/** Changes on their way to the leader at once. */
export const forwardedMax = 64
/** A little more than a change may take there. */
const forwardMsMax = 310_000
/** How long a change waits for an election that is under way. */
const electionWaitMs = 5_000
const electionPollMs = 50
/** Marks a change that was sent on already; the value is the sender's id. */
export const forwardedHeader = 'x-fleetshard-forwarded'

/** `<keyspace>=<epoch>` of what a change made, so that a manager between shows it before it answers. */
export const epochHeader = 'x-fleetshard-epoch'

/** Headers that mean something to the leader. */
const PASSED = [
  'if-match',
  'x-fleetshard-reason',
  'authorization',
  'accept',
  'traceparent',
  // By these the leader knows that a change comes from a page of our own.
  'origin',
  'sec-fetch-site',
] as const
/** Headers of the answer that mean something to the caller. */
const RETURNED = ['etag', 'location', epochHeader] as const

/** What forwarding needs. */
export interface ForwardParts {
  readonly id: string
  readonly clock: Clock
  readonly leader: Leader
  readonly fleet: Pick<Fleet, 'ageMs'>
  /** Beyond this age of the live copy the catalog counts as gone. */
  readonly ageMsMax: number
  /** Waits until reads of this manager show that epoch. */
  readonly shown: (keyspace: string, epoch: number) => Promise<unknown>
  /** The header `cookie` that is sent on: of the browser's session, and nothing else. */
  readonly sessionHeader: (headers: IncomingHttpHeaders) => string | null
  readonly fetch: typeof fetch
}

/**
 * Null when this manager leads, else the leader's answer.
 * @throws FleetError `catalog_unavailable`, `not_leader`, `overloaded`
 */
export type Forward = (call: Call) => Promise<Answer | null>

/** A forwarder with nothing on its way. */
export function createForward(parts: ForwardParts): Forward {
  let onTheirWay = 0
  return async (call) => {
    const url = await leaderUrl(parts, call)
    if (url === null) return null
    if (onTheirWay >= forwardedMax) {
      throw new FleetError(
        'overloaded',
        `${String(forwardedMax)} changes are on their way to the leader already`,
      )
    }
    onTheirWay += 1
    try {
      return await send(parts, url, call)
    } finally {
      onTheirWay -= 1
    }
  }
}

/** Null when this manager leads. Waits a while for an election to end. */
async function leaderUrl(parts: ForwardParts, { request }: Call): Promise<string | null> {
  const { clock, leader } = parts
  const deadline = clock.monotonic() + electionWaitMs
  for (;;) {
    if (leader.leadership() !== null) return null
    if (parts.fleet.ageMs() > parts.ageMsMax) {
      throw new FleetError('catalog_unavailable', 'the catalog does not answer, so nothing can be changed', {
        hint: 'reads go on; try again when the catalog is back',
      })
    }
    const other = leader.leader()
    const isOther = other !== null && other.id !== parts.id && other.url !== null
    if (isOther && request.headers[forwardedHeader] === undefined) return other.url
    if (clock.monotonic() > deadline) throw notLeader('no manager leads at the moment')
    await clock.sleep(electionPollMs)
  }
}

async function send(parts: ForwardParts, leaderUrl: string, { request, traceId }: Call): Promise<Answer> {
  const headers = new Headers({ [forwardedHeader]: parts.id })
  for (const name of PASSED) {
    const value = request.headers[name]
    if (typeof value === 'string') headers.set(name, value)
  }
  const session = parts.sessionHeader(request.headers)
  if (session !== null) headers.set('cookie', session)
  const own = traceparentOf(request.raw)
  if (own !== null) headers.set('traceparent', own)
  if (!headers.has('traceparent')) headers.set('traceparent', `00-${traceId}-${traceId.slice(0, 16)}-01`)
  const hasBody = request.body !== undefined && request.body !== null
  if (hasBody) headers.set('content-type', 'application/json')
  let response: Response
  try {
    response = await parts.fetch(new URL(request.url, leaderUrl), {
      method: request.method,
      headers,
      signal: AbortSignal.timeout(forwardMsMax),
      redirect: 'error',
      ...(hasBody ? { body: JSON.stringify(request.body) } : {}),
    })
  } catch (error) {
    const fault = certificateFault(error)
    throw notLeader(
      `the leading manager at ${leaderUrl} does not answer${fault === null ? '' : `: ${fault}`}`,
      error,
    )
  }
  const answer = await answerOf(response)
  const [, keyspace, epoch] = /^([a-z0-9_]+)=(\d+)$/.exec(response.headers.get(epochHeader) ?? '') ?? []
  if (keyspace !== undefined) await parts.shown(keyspace, Number(epoch))
  return answer
}

async function answerOf(response: Response): Promise<Answer> {
  const text = await response.text()
  const body = text === '' ? undefined : (JSON.parse(text) as unknown)
  if (!response.ok) throw fromProblem(response.status, body)
  const headers: Record<string, string> = {}
  for (const name of RETURNED) {
    const value = response.headers.get(name)
    if (value !== null) headers[name] = value
  }
  return { kind: 'json', status: response.status, headers, ...(body === undefined ? {} : { body }) }
}

function notLeader(message: string, cause?: unknown): FleetError {
  return new FleetError('not_leader', message, { hint: 'read the state, then try again', cause })
}
