// fetch with certificates of one's own: the global one trusts the system's authorities only, and shows none. Requests
// that are not https go by the global one.
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import { Readable } from 'node:stream'
import type { ReadableStream as NodeReadableStream } from 'node:stream/web'
import type { SecureContext } from 'node:tls'

/** Idle connections are closed after this time, as by the global fetch. */
const idleMs = 4_000
/** Statuses of answers that have no body. */
const withoutBody: readonly number[] = [204, 205, 304]

/**
 * A fetch that takes texts as bodies and does not follow redirects: the addresses are those of our own servers.
 * @param context asked at each request, so that new certificates are taken for new connections
 */
export function fetchOverTls(context: () => SecureContext): typeof fetch {
  let current: { readonly context: SecureContext; readonly agent: Agent } | null = null
  const agentNow = (): Agent => {
    const now = context()
    // Connections of the one before go on, and are closed when they are idle.
    if (current?.context !== now) {
      current = { context: now, agent: new Agent({ keepAlive: true, timeout: idleMs, secureContext: now }) }
    }
    return current.agent
  }
  return (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input)
    return url.protocol === 'https:' ? send(url, init, agentNow()) : fetch(input, init)
  }
}

function send(url: URL, { method, headers, body, signal }: RequestInit, agent: Agent): Promise<Response> {
  return new Promise((resolve, reject) => {
    if (body !== undefined && body !== null && typeof body !== 'string') {
      reject(new TypeError('only texts are sent over TLS'))
      return
    }
    const text = body ?? undefined
    const own = Object.fromEntries(new Headers(headers))
    const length = text === undefined ? {} : { 'content-length': Buffer.byteLength(text) }
    const sent = request(url, {
      agent,
      method: method ?? 'GET',
      headers: { ...own, ...length },
      ...(signal === undefined || signal === null ? {} : { signal }),
    })
    sent.on('error', (error) => {
      reject(signal?.aborted === true ? (signal.reason as Error) : error)
    })
    sent.on('response', (message) => {
      resolve(responseOf(message))
    })
    sent.end(text)
  })
}

function responseOf(message: IncomingMessage): Response {
  const status = message.statusCode ?? 0
  const headers = new Headers()
  for (const [name, values] of Object.entries(message.headersDistinct)) {
    for (const value of values ?? []) headers.append(name, value)
  }
  const init = { status, statusText: message.statusMessage ?? '', headers }
  if (withoutBody.includes(status)) {
    message.resume()
    return new Response(null, init)
  }
  // The same streams; the types of Node and of the web name them apart.
  const stream: NodeReadableStream = Readable.toWeb(message)
  return new Response(stream as unknown as ReadableStream, init)
}
