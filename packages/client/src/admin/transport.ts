// One HTTP exchange with a manager: deadline, abort, problem bodies as FleetError. No retries: the caller knows
// what is safe to repeat.
import { certificateFault, certificateHint, FleetError, fromProblem } from '@fleetshard/core'

/** How to reach a manager. */
export interface AdminOptions {
  /** Base URL: `http://127.0.0.1:8081`. */
  readonly url: string
  /** Deadline of a call that gives none; 60,000 by default, since creating embedded nodes takes seconds. */
  readonly timeoutMs?: number
  /** Bearer token, where the manager wants one; a function is asked before each request. */
  readonly token?: string | (() => string | Promise<string>)
  /** In place of the global fetch. */
  readonly fetch?: typeof fetch
}

/** Of one call. */
export interface CallOptions {
  /** Ends the call as FleetError `canceled`; what the manager has begun goes on. */
  readonly signal?: AbortSignal
  /** Ends the call as FleetError `deadline_exceeded`; what the manager has begun goes on. */
  readonly timeoutMs?: number
  /** Why a change is made, for the audit log. */
  readonly reason?: string
}

/** A change of a record that has a version. */
export interface ChangeOptions extends CallOptions {
  /** The version read before; a newer one on the server fails as `version_mismatch`. Any version if left out. */
  readonly version?: number
}

/** What a call sends. */
export interface Exchange {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/** Sends calls to one manager. */
export interface Transport {
  /** The answer's JSON; undefined for 204. @throws FleetError of the problem body, or `server_unreachable` */
  call(exchange: Exchange, options?: ChangeOptions): Promise<unknown>
  /** The open answer of an event stream, without a deadline. @throws like `call` */
  open(exchange: Exchange, signal: AbortSignal | undefined): Promise<Response>
}

const timeoutMsDefault = 60_000

/** Transport over fetch. */
export function createTransport(options: AdminOptions): Transport {
  const base = new URL(options.url.endsWith('/') ? options.url : `${options.url}/`)
  const send = options.fetch ?? fetch

  async function request(exchange: Exchange, signal: AbortSignal | undefined, extra: Record<string, string>) {
    const url = new URL(exchange.path.replace(/^\//, ''), base)
    for (const [name, value] of Object.entries(exchange.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value))
    }
    const headers = new Headers({ accept: 'application/json', ...exchange.headers, ...extra })
    const { token } = options
    const bearer = typeof token === 'function' ? await token() : token
    if (bearer !== undefined) headers.set('authorization', `Bearer ${bearer}`)
    const init: RequestInit = { method: exchange.method, headers }
    if (signal !== undefined) init.signal = signal
    if (exchange.body !== undefined) {
      headers.set('content-type', 'application/json')
      init.body = JSON.stringify(exchange.body)
    }
    return send(url, init)
  }

  return {
    async call(exchange, call = {}) {
      const deadline = AbortSignal.timeout(call.timeoutMs ?? options.timeoutMs ?? timeoutMsDefault)
      const signal = call.signal === undefined ? deadline : AbortSignal.any([deadline, call.signal])
      try {
        const response = await request(exchange, signal, changeHeaders(call))
        return await answerOf(response)
      } catch (error) {
        throw transportError(error, { url: base, deadline, signal: call.signal })
      }
    },
    async open(exchange, signal) {
      try {
        const response = await request(exchange, signal, {})
        if (!response.ok) await answerOf(response)
        return response
      } catch (error) {
        throw transportError(error, { url: base, deadline: undefined, signal })
      }
    },
  }
}

function changeHeaders({ version, reason }: ChangeOptions): Record<string, string> {
  return {
    ...(version === undefined ? {} : { 'if-match': `"${String(version)}"` }),
    ...(reason === undefined ? {} : { 'x-fleetshard-reason': encodeURIComponent(reason) }),
  }
}

async function answerOf(response: Response): Promise<unknown> {
  const text = await response.text()
  const json = parseJson(text)
  if (!response.ok) throw fromProblem(response.status, json)
  if (text === '') return undefined
  if (json === undefined) {
    throw new FleetError('server_unreachable', `the answer of ${response.url} is not JSON`, {
      hint: 'check that the URL is that of a FleetShard manager',
    })
  }
  return json
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

/** What made a call end. */
interface CallEnd {
  readonly url: URL
  readonly deadline: AbortSignal | undefined
  readonly signal: AbortSignal | undefined
}

/** Any failure of an exchange as an error of the catalogue. */
export function transportError(error: unknown, { url, deadline, signal }: CallEnd): FleetError {
  if (error instanceof FleetError) return error
  if (signal?.aborted === true) {
    return new FleetError('canceled', 'the call was given up', { cause: error })
  }
  if (deadline?.aborted === true) {
    return new FleetError('deadline_exceeded', `the manager at ${url.origin} did not answer in time`, {
      cause: error,
      hint: 'the change may still be made; read the state before repeating it',
    })
  }
  const fault = certificateFault(error)
  return new FleetError('server_unreachable', `the manager at ${url.origin} cannot be reached`, {
    cause: error,
    hint: fault === null ? 'check that it runs: fleetshard status' : `${fault}: ${certificateHint}`,
  })
}
