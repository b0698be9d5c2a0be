// The way to the routers: one of them at a time, the next one when it cannot be reached. A request goes out again only
// when it surely was not sent, or its caller says that a repetition does no harm.
import { certificateFault, FleetError, fromProblem, type Clock } from '@fleetshard/core'
import { canceledBy } from '../errors.ts'
import { parseJson } from '../json-reader.ts'
import type { TokenOption } from '../options.ts'
import type { Wanted, WholeExchange, WholeRequest } from './whole-exchange.ts'

/** What the routers are reached with. */
export interface RoutersParts {
  /** Base URLs, in the order of preference; at least one. */
  readonly urls: readonly string[]
  readonly clock: Clock
  /** For answers that are read as they come. */
  readonly fetch: typeof fetch
  /** For answers that are read whole. */
  readonly whole: WholeExchange
  /** Bearer token, or how to get one, where the routers want one. */
  readonly token: TokenOption | null
  /** Headers of every request that tell of its trace; null where nobody traces. */
  readonly traceHeaders: (() => Readonly<Record<string, string>>) | null
}

/** What is sent. */
export interface RouterRequest {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** With its query string: `/v1/execute`. */
  readonly path: string
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** The body of the repetition after one whose fate is unknown; null when there must be none. */
  readonly repeat: { readonly body?: unknown } | null
  /** The one router that can answer it; any by default. */
  readonly base?: string
}

/** Bounds of one exchange. */
export interface ExchangeLimits {
  readonly signal?: AbortSignal | undefined
  /** Until the whole answer is there, failing over included. */
  readonly timeoutMs: number
}

/** A whole answer. */
export interface RouterAnswer {
  readonly json: unknown
  readonly base: string
}

/** An answer whose body may still be coming. */
export interface OpenAnswer<T> {
  /** What `begin` has made of it. */
  readonly value: T
  readonly base: string
  /** Takes the deadline back; the signal still counts. */
  readonly unbound: () => void
  /** Why the exchange was given up; null while it is wanted. */
  readonly reason: () => FleetError | null
  /** Gives it up, or cleans up after its end; to be called in any case. */
  readonly close: () => void
}

/** @throws FleetError `unauthenticated` when there is none to be had: no router is asked then */
async function askedFor(token: () => string | Promise<string>): Promise<string> {
  try {
    return await token()
  } catch (cause) {
    throw new FleetError('unauthenticated', 'the function of the option token failed', { cause })
  }
}

const noContent = 204
/** Statuses from there to `okEnd` are of requests that were done. */
const okBegin = 200
const okEnd = 300

/** System errors before the first byte of a request could go out. */
const UNSENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'UND_ERR_CONNECT_TIMEOUT',
  'CONNECT_TIMEOUT',
])

/** The router has begun nothing of it. */
const REFUSALS = new Set(['shutting_down', 'server_unreachable'])

/** Sends requests to the routers. */
export class Routers {
  readonly #parts: RoutersParts
  /** The one that answered last. */
  #current = 0

  constructor(parts: RoutersParts) {
    this.#parts = parts
  }

  /** The base URL that requests go to first. */
  get base(): string {
    return this.#parts.urls[this.#current] ?? ''
  }

  /** Makes another router the first one: this one's answers lag behind. */
  rotate(): void {
    this.#current = (this.#current + 1) % this.#parts.urls.length
  }

  /**
   * One request and its whole answer.
   * @throws FleetError of the problem body; `server_unreachable`; `deadline_exceeded` or `canceled`, with the fact
   * `outcome` when it is not known what became of the request
   */
  async call(request: RouterRequest, limits: ExchangeLimits): Promise<RouterAnswer> {
    const bounds = new Bounds(this.#parts.clock, limits)
    try {
      return await this.#try(request, bounds, async (sent, base) => {
        const { status, text } = await this.#parts.whole(sent, bounds)
        const json = status === noContent ? null : parseJson(text)
        if (status < okBegin || status >= okEnd) throw fromProblem(status, json)
        if (json === undefined) throw notJson(base)
        return { json, base }
      })
    } finally {
      bounds.end()
    }
  }

  /** As `call`, but `begin` reads as much of the answer as it needs to know that it has begun well. */
  async open<T>(
    request: RouterRequest,
    limits: ExchangeLimits,
    begin: (response: Response, base: string) => Promise<T>,
  ): Promise<OpenAnswer<T>> {
    const bounds = new Bounds(this.#parts.clock, limits)
    try {
      return await this.#try(request, bounds, async ({ url, method, headers, body }, base) => {
        const init: RequestInit = { method, headers, signal: bounds.signal }
        if (body !== undefined) init.body = body
        const value = await begin(await this.#parts.fetch(url, init), base)
        return {
          base,
          value,
          unbound: () => {
            bounds.unbound()
          },
          reason: () => bounds.reason,
          close: () => {
            bounds.end()
          },
        }
      })
    } catch (error) {
      bounds.end()
      throw error
    }
  }

  /** Sends a request to one router after the other, as long as that is right. */
  async #try<T>(
    request: RouterRequest,
    bounds: Bounds,
    send: (sent: WholeRequest, base: string) => Promise<T>,
  ): Promise<T> {
    const { urls } = this.#parts
    const tries = request.base === undefined ? urls.length : 1
    let { body } = request
    let lostBefore = false
    for (let attempt = 1; ; attempt += 1) {
      const base = request.base ?? this.base
      try {
        const { token } = this.#parts
        const bearer = typeof token === 'function' ? await askedFor(token) : token
        return await send(this.#sent(request, { base, body, bearer }), base)
      } catch (error) {
        const failure = afterLoss(this.#failureOf(error, base, bounds), lostBefore)
        const next = attempt < tries && bounds.reason === null ? nextTry(failure, request) : null
        const isSilent = bounds.reason?.code === 'deadline_exceeded'
        // Also when this request ends here: the next one does better elsewhere.
        if ((isSilent || failure.kind !== 'answered') && urls[this.#current] === base) this.rotate()
        if (next === null) throw failure.error
        if (failure.kind === 'lost') {
          lostBefore = true
          ;({ body } = next)
        }
      }
    }
  }

  #sent(
    request: RouterRequest,
    { base, body, bearer }: { readonly base: string; readonly body: unknown; readonly bearer: string | null },
  ): WholeRequest {
    const { traceHeaders } = this.#parts
    const headers: Record<string, string> = {
      accept: 'application/json',
      ...traceHeaders?.(),
      ...request.headers,
    }
    if (bearer !== null) headers['authorization'] = `Bearer ${bearer}`
    if (body !== undefined) headers['content-type'] = 'application/json'
    const text = body === undefined ? undefined : JSON.stringify(body)
    return { url: base + request.path, method: request.method, headers, body: text }
  }

  #failureOf(error: unknown, base: string, bounds: Bounds): Failure {
    if (error instanceof FleetError) {
      const unbegun = REFUSALS.has(error.code) && error.facts['outcome'] !== 'unknown'
      return { kind: unbegun ? 'unsent' : 'answered', error }
    }
    if (bounds.reason !== null) {
      return { kind: 'answered', error: bounds.reason.withFacts({ outcome: 'unknown' }) }
    }
    const unsent = isUnsent(error)
    return {
      kind: unsent ? 'unsent' : 'lost',
      error: new FleetError('server_unreachable', `the router at ${base} cannot be reached`, {
        cause: error,
        hint: hintOf(error),
        facts: { outcome: unsent ? 'aborted' : 'unknown' },
      }),
    }
  }
}

function hintOf(error: unknown): string {
  const fault = certificateFault(error)
  if (fault === null) return 'check the URL and that the router runs: fleetshard status'
  return `${fault}: check that the option tls has the authority of the router, and that it takes our certificate`
}

/** `answered`: what the router said stands. `unsent`: nothing of it has begun. `lost`: nobody knows. */
interface Failure {
  readonly kind: 'answered' | 'unsent' | 'lost'
  readonly error: FleetError
}

/** What an earlier sending may have done, a later one that did not arrive does not undo. */
function afterLoss(failure: Failure, lostBefore: boolean): Failure {
  if (!lostBefore) return failure
  const facts = failure.kind === 'answered' ? { repeated: true } : { outcome: 'unknown' }
  return { ...failure, error: failure.error.withFacts(facts) }
}

function nextTry(failure: Failure, request: RouterRequest): { readonly body?: unknown } | null {
  switch (failure.kind) {
    case 'answered':
      return null
    case 'unsent':
      return { body: request.body }
    case 'lost':
      return request.repeat
  }
}

function isUnsent(error: unknown): boolean {
  const causes = error instanceof Error ? [error.cause, error] : []
  return causes.some((cause) => {
    if (cause instanceof AggregateError) return cause.errors.length > 0 && cause.errors.every(isUnsentCode)
    return isUnsentCode(cause)
  })
}

function isUnsentCode(error: unknown): boolean {
  return error instanceof Error && 'code' in error && UNSENT.has(String(error.code))
}

function notJson(base: string): FleetError {
  return new FleetError('server_unreachable', `what answers at ${base} is not a FleetShard router`, {
    hint: 'check the URL',
  })
}

/** The caller's signal and the deadline as one. */
class Bounds implements Wanted {
  /** Made when somebody asks for the signal: it costs more than the rest of the bounds. */
  #controller: AbortController | null = null
  #over: (() => void) | null = null
  #ended = false
  readonly #stop: () => void
  readonly #outer: AbortSignal | undefined
  readonly #onAbort: () => void
  reason: FleetError | null = null

  constructor(clock: Clock, { signal, timeoutMs }: ExchangeLimits) {
    this.#outer = signal
    this.#onAbort = () => {
      this.#giveUp(canceledBy(signal))
    }
    this.#stop = clock.after(timeoutMs, () => {
      this.#giveUp(
        new FleetError('deadline_exceeded', `there was no answer after ${String(timeoutMs)} ms`, {
          hint: 'give the call more time with timeoutMs',
        }),
      )
    })
    if (signal?.aborted === true) this.#onAbort()
    else signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.#ended) this.#controller.abort()
    return this.#controller.signal
  }

  readonly whenOver = (callback: (() => void) | null): void => {
    this.#over = callback
    if (this.#ended) callback?.()
  }

  unbound(): void {
    this.#stop()
  }

  /** Closes the exchange and takes the timer back. */
  end(): void {
    this.#stop()
    this.#outer?.removeEventListener('abort', this.#onAbort)
    this.#close()
  }

  #giveUp(reason: FleetError): void {
    this.reason ??= reason
    this.#close()
  }

  #close(): void {
    if (this.#ended) return
    this.#ended = true
    this.#controller?.abort()
    this.#over?.()
  }
}
