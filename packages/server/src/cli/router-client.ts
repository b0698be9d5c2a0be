// The router's HTTP interface as the commands need it: execute, route, shard-for-key, ready.
import { certificateFault, certificateHint, FleetError, fromProblem } from '@fleetshard/core'
import type {
  ExecuteRequest,
  ExecuteResponse,
  RouteRequest,
  RouteResponse,
  RouterTopology,
  ShardForKeyResponse,
} from '@fleetshard/core/contract'

/** A router and how to reach it. */
export interface RouterClientOptions {
  readonly url: string
  /** Null for none. */
  readonly token: string | null
  readonly timeoutMs: number
  readonly signal: AbortSignal
  readonly fetch: typeof fetch
}

/** What /ready answered: the HTTP status and the facts in its body. */
export interface RouterReady {
  readonly ok: boolean
  readonly facts: Readonly<Record<string, unknown>>
}

/** Calls of one router. Each fails as FleetError: that of the answer, `server_unreachable`, `deadline_exceeded`, `canceled`. */
export interface RouterClient {
  /** @param traceparent of the span that waits for it, which is answered with the router's own spans */
  execute(body: ExecuteRequest, traceparent?: string): Promise<ExecuteResponse>
  /** The map of a keyspace that the router works with. */
  topology(keyspace: string): Promise<RouterTopology>
  route(body: RouteRequest): Promise<RouteResponse>
  shardForKey(key: string, keyspace: string, table?: string): Promise<ShardForKeyResponse>
  /** Does not fail on 503: that is an answer. */
  ready(): Promise<RouterReady>
}

/** A client of the router at that URL; does no I/O until a method is called. */
export function createRouterClient(options: RouterClientOptions): RouterClient {
  return {
    async execute(body, traceparent) {
      const tracing = traceparent === undefined ? {} : { traceparent, 'x-fleetshard-trace': 'spans' }
      return (await call(options, '/v1/execute', body, tracing)) as ExecuteResponse
    },
    async topology(keyspace) {
      const query = new URLSearchParams({ keyspace })
      return (await call(options, `/v1/topology?${query.toString()}`)) as RouterTopology
    },
    async route(body) {
      return (await call(options, '/v1/route', body)) as RouteResponse
    },
    async shardForKey(key, keyspace, table) {
      const query = new URLSearchParams({ key, keyspace, ...(table === undefined ? {} : { table }) })
      return (await call(options, `/v1/shard-for-key?${query.toString()}`)) as ShardForKeyResponse
    },
    async ready() {
      const { status, json } = await exchange(options, '/ready')
      const facts = typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : {}
      return { ok: status === 200, facts }
    },
  }
}

interface Answer {
  readonly status: number
  readonly json: unknown
}

type MoreHeaders = Readonly<Record<string, string>>

async function call(
  options: RouterClientOptions,
  path: string,
  body?: unknown,
  more: MoreHeaders = {},
): Promise<unknown> {
  const { status, json } = await exchange(options, path, { body, more })
  if (status >= 400) throw fromProblem(status, json)
  if (typeof json === 'object' && json !== null) return json
  throw new FleetError('server_unreachable', `what answers at ${options.url} is not a FleetShard router`, {
    hint: 'check --router-url',
  })
}

async function exchange(
  options: RouterClientOptions,
  path: string,
  { body, more = {} }: { readonly body?: unknown; readonly more?: MoreHeaders } = {},
): Promise<Answer> {
  const deadline = AbortSignal.timeout(options.timeoutMs)
  try {
    const headers = new Headers(more)
    if (options.token !== null) headers.set('authorization', `Bearer ${options.token}`)
    if (body !== undefined) headers.set('content-type', 'application/json')
    const response = await options.fetch(new URL(path, options.url), {
      signal: AbortSignal.any([deadline, options.signal]),
      headers,
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
    })
    return { status: response.status, json: parseJson(await response.text()) }
  } catch (error) {
    throw failureOf(error, options, deadline)
  }
}

function failureOf(error: unknown, { url, signal }: RouterClientOptions, deadline: AbortSignal): FleetError {
  if (signal.aborted) return new FleetError('canceled', 'the request was given up', { cause: error })
  if (deadline.aborted) {
    return new FleetError('deadline_exceeded', `the router at ${url} did not answer in time`, {
      cause: error,
      hint: 'give it more time with --request-timeout-ms; a write may still have happened',
    })
  }
  const fault = certificateFault(error)
  return new FleetError('server_unreachable', `the router at ${url} cannot be reached`, {
    cause: error,
    hint:
      fault === null
        ? 'fleetshard up starts one on this machine; --router-url names another'
        : `${fault}: ${certificateHint}`,
  })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}
