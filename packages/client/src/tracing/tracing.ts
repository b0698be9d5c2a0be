// OpenTelemetry, where the application has its API installed. Nothing of it is a dependency: what cannot be loaded is
// not there, and then no call takes a step more than without this file.
import type * as OpenTelemetry from '@opentelemetry/api'
import type { Context, Span } from '@opentelemetry/api'
import { toFleetShardError } from '../errors.ts'

type Api = typeof OpenTelemetry

/** The API with what all spans of a client have in common. */
export interface Tracing {
  readonly api: Api
  readonly attributes: Readonly<Record<string, string>>
  /** Of the keyspace; the second half of a span's name. */
  readonly keyspace: string
}

const tracerName = '@fleetshard/client'

/** The API, or null where it is not installed. */
export async function loadApi(): Promise<Api | null> {
  try {
    // Bundlers leave it alone: it is looked for when the program runs, and need not be there.
    return await import(/* webpackIgnore: true */ /* @vite-ignore */ '@opentelemetry/api')
  } catch {
    return null
  }
}

/** The headers that tell a router of the span at hand; none outside of spans. */
export function traceHeaders({ propagation, context }: Api): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {}
  propagation.inject(context.active(), headers)
  return headers
}

/** False while no SDK is registered, which may happen at any time. Costs less than a span that nobody records. */
export function isTraced({ api }: Tracing): boolean {
  const provider = api.trace.getTracerProvider()
  return (
    !(provider instanceof api.ProxyTracerProvider) || provider.getDelegateTracer(tracerName) !== undefined
  )
}

/** Begins a span for an operation, or gives null while nobody records. */
export function beginSpan(tracing: Tracing, operation: string): Span | null {
  if (!isTraced(tracing)) return null
  const { api, attributes, keyspace } = tracing
  const span = api.trace.getTracer(tracerName).startSpan(`${operation} ${keyspace}`, {
    kind: api.SpanKind.CLIENT,
    attributes: { ...attributes, 'db.operation.name': operation },
  })
  return span.isRecording() ? span : null
}

/** The context in which that span is the one at hand. */
export const contextOf = ({ api }: Tracing, span: Span): Context =>
  api.trace.setSpan(api.context.active(), span)

/** Says how the operation failed: code, SQLSTATE and outcome; no message, which may hold values of rows. */
export function failSpan({ api }: Tracing, span: Span, error: unknown): void {
  const { code, sqlstate, outcome } = toFleetShardError(error)
  span.setAttributes({
    'error.type': code,
    'db.response.status_code': sqlstate,
    'fleetshard.outcome': outcome,
  })
  span.setStatus({ code: api.SpanStatusCode.ERROR, message: code })
}

/** Comments, then the first word. */
const FIRST_WORD = /^(?:\s|--[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)*([a-z]{1,32})/i

/** What a statement does, by its first word. Its text is not told: literals in it may be anybody's data. */
export const operationOf = (text: string): string => FIRST_WORD.exec(text)?.[1]?.toUpperCase() ?? 'QUERY'
