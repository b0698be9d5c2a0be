// Traces as the parts of a process see them: a port of a few words. What records and sends spans is loaded by roles/
// only where an operator asked for it; everywhere else there is null, and nothing to pay.

/** A value that is told of a span. */
export type SpanValue = string | number | boolean

/** How a span begins. */
export interface SpanOptions {
  /** `server`: asked from outside. `client`: asks somebody else. `internal` where it is left out. */
  readonly kind?: 'server' | 'client' | 'internal'
  readonly attributes?: Readonly<Record<string, SpanValue>>
  /** `clock.monotonic()` of its beginning; now where it is left out. */
  readonly startMs?: number
}

/** One span. Ends once; what is told later is lost. */
export interface TraceSpan {
  /** 32 hexadecimal digits. */
  readonly traceId: string
  /** The header by which others become its children. */
  readonly traceparent: string
  /** False for one that is not sent to anybody. */
  readonly isRecorded: boolean
  child(name: string, options?: SpanOptions): TraceSpan
  rename(name: string): void
  set(attributes: Readonly<Record<string, SpanValue>>): void
  /** It failed with that code. */
  fail(code: string): void
  /** @param endMs `clock.monotonic()`; now where it is left out */
  end(endMs?: number): void
}

/** Records spans and sends them, in the background and within bounds: what cannot be sent in time is dropped. */
export interface Tracing {
  /** @param parent a W3C traceparent; anything else, or null, begins a trace, of which only a part is recorded */
  begin(name: string, options: SpanOptions & { readonly parent: string | null }): TraceSpan
  /** As `begin`; null where nobody records it, at next to no cost: for what has no use for the id of its trace. */
  beginRecorded(name: string, options: SpanOptions & { readonly parent: string | null }): TraceSpan | null
  /** Sends what is left, for a short time at most. */
  shutdown(): Promise<void>
}

/** Names of attributes that several parts use: those of OpenTelemetry's conventions, and our own. */
export const SPAN_ATTRIBUTES = {
  keyspace: 'db.namespace',
  statement: 'db.query.text',
  rows: 'db.response.returned_rows',
  sqlstate: 'db.response.status_code',
  system: 'db.system.name',
  shard: 'fleetshard.shard.id',
  node: 'fleetshard.node.id',
  job: 'fleetshard.job.id',
  jobType: 'fleetshard.job.type',
} as const

/** Runs work as a child of a span; as it is where there is none. */
export async function inSpan<T>(parent: TraceSpan | null, name: string, work: () => Promise<T>): Promise<T> {
  if (parent === null) return work()
  const span = parent.child(name)
  try {
    return await work()
  } catch (error) {
    span.fail(codeOf(error))
    throw error
  } finally {
    span.end()
  }
}

/** Code of the catalogue, or the name of what was thrown: never a message. */
export function codeOf(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string')
    return error.code
  return error instanceof Error ? error.name : 'internal'
}

const SQL_COMMENT = /\/\*(?:[^*]|\*(?!\/))*?traceparent='([0-9a-f-]{55})'(?:[^*]|\*(?!\/))*?\*\//

/** The traceparent in a comment of a statement, in the form of sqlcommenter; null without one. */
export function traceparentInSql(text: string): string | null {
  return text.includes("traceparent='") ? (SQL_COMMENT.exec(text)?.[1] ?? null) : null
}
