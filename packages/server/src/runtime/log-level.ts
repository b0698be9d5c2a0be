// GET and PUT /log-level beside the metrics: what is written to the log, changed while the process runs. For programs on
// this machine only, since a log that is told everything costs time and disk.
import type { IncomingMessage } from 'node:http'
import { isLocalHost, type Clock } from '@fleetshard/core'
import { EVENTS } from './events.ts'
import { LOG_LEVELS, type Logger, type Logging, type LogLevel } from './log.ts'

const bodyBytesMax = 1_024
/** Longest time after which a level goes back by itself. */
const forMsMax = 24 * 60 * 60_000
/** Set by proxies, which hide where a request comes from, and by browsers, in which any page may ask. */
const FOREIGN = ['forwarded', 'x-forwarded-for', 'via', 'origin'] as const

/** An answer as JSON. */
export interface LogLevelAnswer {
  readonly status: number
  readonly body: Readonly<Record<string, string | number>>
}

interface Wanted {
  readonly level: LogLevel
  /** Null for as long as the process runs. */
  readonly forMs: number | null
}

/** The endpoint of one process. Dispose it to forget that a level was to go back. */
export class LogLevelEndpoint implements Disposable {
  readonly #parts: { readonly log: Logger; readonly logging: Logging; readonly clock: Clock }
  #goBack: { readonly cancel: () => void; readonly to: LogLevel } | null = null

  constructor(parts: { readonly log: Logger; readonly logging: Logging; readonly clock: Clock }) {
    this.#parts = parts
  }

  /** Answers GET, HEAD and PUT. */
  async answer(request: IncomingMessage): Promise<LogLevelAnswer> {
    if (request.method === 'GET' || request.method === 'HEAD') return this.#told()
    if (request.method !== 'PUT') return { status: 405, body: { error: 'only GET and PUT' } }
    if (isForeign(request)) {
      return { status: 403, body: { error: 'the level is changed by programs on this machine only' } }
    }
    const wanted = wantedOf(await bodyOf(request))
    if (wanted === null) {
      const error = `send {"level": "…"} with one of ${LOG_LEVELS.join(', ')}, and "for_ms" up to a day or none`
      return { status: 400, body: { error } }
    }
    this.#change(wanted)
    return this.#told()
  }

  [Symbol.dispose](): void {
    this.#goBack?.cancel()
    this.#goBack = null
  }

  #told(): LogLevelAnswer {
    const { logging } = this.#parts
    const after = this.#goBack === null ? {} : { back_to: this.#goBack.to }
    return { status: 200, body: { level: logging.level(), ...after } }
  }

  #change({ level, forMs }: Wanted): void {
    const { clock, logging } = this.#parts
    const before = this.#goBack?.to ?? logging.level()
    this.#goBack?.cancel()
    this.#goBack = null
    this.#set(level)
    if (forMs === null) return
    const cancel = clock.after(forMs, () => {
      this.#goBack = null
      this.#set(before)
    })
    this.#goBack = { cancel, to: before }
  }

  /** Said at both levels, so that one line is seen whichever way it goes. */
  #set(level: LogLevel): void {
    const { log, logging } = this.#parts
    const before = logging.level()
    const line = { event: EVENTS.log_level, before, level }
    log.warn(line, 'the level of the log changes')
    logging.setLevel(level)
  }
}

function isForeign({ headers, socket }: IncomingMessage): boolean {
  const address = (socket.remoteAddress ?? '').replace(/^::ffff:/, '')
  return !isLocalHost(address) || FOREIGN.some((name) => headers[name] !== undefined)
}

/** Null for more than an order may have. */
async function bodyOf(request: IncomingMessage): Promise<string | null> {
  let text = ''
  for await (const chunk of request) {
    text += String(chunk)
    if (text.length > bodyBytesMax) return null
  }
  return text
}

function wantedOf(body: string | null): Wanted | null {
  try {
    const { level, for_ms: forMs = null, ...others } = JSON.parse(body ?? '') as Record<string, unknown>
    const found = LOG_LEVELS.find((known) => known === level)
    if (found === undefined || Object.keys(others).length > 0) return null
    if (forMs === null) return { level: found, forMs }
    const isTime = typeof forMs === 'number' && Number.isInteger(forMs) && forMs >= 1 && forMs <= forMsMax
    return isTime ? { level: found, forMs } : null
  } catch {
    return null
  }
}
