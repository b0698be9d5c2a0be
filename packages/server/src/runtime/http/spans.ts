// The spans of requests: begun when the head was read, ended with the answer, found by the request in between.
import type { IncomingMessage } from 'node:http'
import type { TraceSpan, Tracing } from '../tracing.ts'
import { traceIdOf } from './trace.ts'

const spans = new WeakMap<IncomingMessage, TraceSpan>()

/** Begins the span of a request, where there are traces. @returns the trace id of the request */
export function beginRequest(tracing: Tracing | null, request: IncomingMessage): string {
  const { traceparent } = request.headers
  if (tracing === null) return traceIdOf(traceparent)
  const parent = typeof traceparent === 'string' ? traceparent : null
  const span = tracing.begin(request.method ?? 'GET', { kind: 'server', parent })
  spans.set(request, span)
  return span.traceId
}

/** Ends it. @param route the pattern of the path */
export function endRequest(
  request: IncomingMessage,
  { method, route, status }: { readonly method: string; readonly route: string; readonly status: number },
): void {
  const span = spans.get(request)
  if (span === undefined) return
  span.rename(`${method} ${route}`)
  span.set({ 'http.request.method': method, 'http.route': route, 'http.response.status_code': status })
  if (status >= 500) span.fail(String(status))
  span.end()
}

/** The header by which what a request leads to becomes part of its trace; null where there are no traces. */
export const traceparentOf = (request: IncomingMessage): string | null =>
  spans.get(request)?.traceparent ?? null
