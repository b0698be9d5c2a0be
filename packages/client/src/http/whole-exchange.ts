// One HTTP request and its whole answer, the way of nearly every statement. Two ways do it alike: fetch, which is
// everywhere, and Node's own client, at a fraction of the cost.
import type { Clock } from '@fleetshard/core'
import type { TlsContext } from '@fleetshard/core/tls'

/** What is sent. */
export interface WholeRequest {
  readonly url: string
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  /** Undefined for none. */
  readonly body: string | undefined
}

/** Whether anybody still wants the answer. */
export interface Wanted {
  /** Aborts when nobody does. */
  readonly signal: AbortSignal
  /** The same as a call, at once where it is over already; null takes it back. */
  readonly whenOver: (callback: (() => void) | null) => void
}

/** What came back. */
export interface WholeAnswer {
  readonly status: number
  readonly text: string
}

/** Rejects with errors of the system or of fetch, and with any error once nobody wants the answer. */
export type WholeExchange = (request: WholeRequest, wanted: Wanted) => Promise<WholeAnswer>

/** Whole exchanges by fetch. */
export function exchangeByFetch(send: typeof fetch): WholeExchange {
  return async ({ url, method, headers, body }, { signal }) => {
    const init: RequestInit = { method, headers, signal }
    if (body !== undefined) init.body = body
    const response = await send(url, init)
    return { status: response.status, text: await response.text() }
  }
}

/** The cheapest way that this platform has, by those certificates. `byFetch` does what the other way leaves to it. */
export async function exchangeOfPlatform(
  byFetch: WholeExchange,
  clock: Clock,
  tlsContext: TlsContext | null,
): Promise<WholeExchange> {
  const { process: found } = globalThis as { process?: { versions?: { node?: string } } }
  if (found?.versions?.node === undefined) return byFetch
  const { exchangeByNode } = await import('./node/exchange.ts')
  return exchangeByNode({ clock, byFetch, tlsContext })
}
