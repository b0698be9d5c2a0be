// Whole exchanges by Node's HTTP client: a connection is kept for the next request, and its bytes take no detour through
// web streams.
import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { SecureContext } from 'node:tls'
import type { Clock } from '@fleetshard/core'
import type { WholeAnswer, WholeExchange, WholeRequest, Wanted } from '../whole-exchange.ts'

/** Idle connections are closed after this time, or earlier where the router says so; as by fetch. */
const idleMs = 4_000
/** How long connecting may take, as by fetch: the next router gets the request then, which was not sent. */
const connectMsMax = 10_000
/** Statuses from there to `redirectEnd` send elsewhere, where fetch knows how to go. */
const redirectBegin = 300
const redirectEnd = 400

/** What the way is made of. */
export interface NodeExchangeParts {
  readonly clock: Clock
  /** Goes where an answer sends it; such an answer comes from a proxy, and no router has seen the request. */
  readonly byFetch: WholeExchange
  /** What is trusted and shown under TLS; null for what the system trusts. */
  readonly tlsContext: SecureContext | null
}

/** Connections are those of this exchange alone. Idle ones do not keep the process alive. */
export function exchangeByNode({ clock, byFetch, tlsContext }: NodeExchangeParts): WholeExchange {
  const options = { keepAlive: true, timeout: idleMs }
  const plain = new HttpAgent(options)
  const secure = new HttpsAgent({
    ...options,
    ...(tlsContext === null ? {} : { secureContext: tlsContext }),
  })
  const begin = ({ url, method, headers, body }: WholeRequest): ClientRequest => {
    // Without the length Node would send it in chunks.
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }
    const all = { ...headers, ...length }
    return url.startsWith('https:')
      ? httpsRequest(url, { method, headers: all, agent: secure })
      : httpRequest(url, { method, headers: all, agent: plain })
  }
  return async (request, wanted) => {
    const answer = await exchange(begin(request), { body: request.body, wanted, clock })
    const isElsewhere = answer.status >= redirectBegin && answer.status < redirectEnd
    return isElsewhere ? byFetch(request, wanted) : answer
  }
}

interface ExchangeParts {
  readonly body: string | undefined
  readonly wanted: Wanted
  readonly clock: Clock
}

function exchange(sent: ClientRequest, { body, wanted, clock }: ExchangeParts): Promise<WholeAnswer> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => {
      wanted.whenOver(null)
      reject(error as Error)
    }
    sent.on('error', fail)
    sent.on('response', (response) => {
      collect(response, fail, (answer) => {
        wanted.whenOver(null)
        resolve(answer)
      })
    })
    boundConnecting(sent, clock)
    wanted.whenOver(() => {
      sent.destroy(new Error('nobody wants the answer any more'))
    })
    sent.end(body)
  })
}

function collect(
  response: IncomingMessage,
  fail: (error: unknown) => void,
  resolve: (answer: WholeAnswer) => void,
): void {
  let text = ''
  response.setEncoding('utf8')
  response.on('data', (piece: string) => {
    text += piece
  })
  response.on('end', () => {
    resolve({ status: response.statusCode ?? 0, text })
  })
  response.on('error', fail)
}

/** An error of connecting, which tells that nothing was sent. */
function boundConnecting(sent: ClientRequest, clock: Clock): void {
  sent.once('socket', (socket) => {
    if (!socket.connecting) return
    const stop = clock.after(connectMsMax, () => {
      sent.destroy(
        Object.assign(new Error(`no connection after ${String(connectMsMax)} ms`), {
          code: 'CONNECT_TIMEOUT',
        }),
      )
    })
    socket.once('connect', stop)
    sent.once('close', stop)
  })
}
