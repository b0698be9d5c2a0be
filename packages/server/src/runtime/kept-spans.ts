// The spans of one request whose client has asked to be told them: kept until it is answered, and sent on as well where
// there are traces.
import { randomBytes } from 'node:crypto'
import type { Clock } from '@fleetshard/core'
import type { AnsweredSpan } from '@fleetshard/core/contract'
import type { SpanOptions, SpanValue, TraceSpan, Tracing } from './tracing.ts'

/** Spans told of one request; more are left out. */
const spansMax = 200

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/

/** Keeps the spans of one request. */
export class KeptSpans {
  readonly #clock: Clock
  readonly #spans: KeptSpan[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Begins the first of them. @param tracing where they are sent as well; null for nowhere */
  begin(
    tracing: Tracing | null,
    name: string,
    options: SpanOptions & { readonly parent: string | null },
  ): TraceSpan {
    const [, traceId = randomBytes(16).toString('hex'), parentId = null] =
      TRACEPARENT.exec(options.parent ?? '') ?? []
    const sent = tracing?.begin(name, options) ?? null
    return this.#keep({ name, sent, traceId: sent?.traceId ?? traceId, parentId }, options)
  }

  /** All of them; what has not ended yet is told as if it did now. */
  told(): readonly AnsweredSpan[] {
    const originMs = this.#spans[0]?.startMs ?? 0
    return this.#spans.map((span) => span.told(originMs))
  }

  #keep(
    parts: Omit<KeptParts, 'clock' | 'startMs' | 'keep'>,
    { startMs, attributes }: SpanOptions,
  ): KeptSpan {
    const span = new KeptSpan({
      ...parts,
      clock: this.#clock,
      startMs: startMs ?? this.#clock.monotonic(),
      keep: (child, options) => this.#keep(child, options),
    })
    if (attributes !== undefined) span.note(attributes)
    if (this.#spans.length < spansMax) this.#spans.push(span)
    return span
  }
}

interface KeptParts {
  readonly clock: Clock
  readonly name: string
  readonly startMs: number
  readonly traceId: string
  readonly parentId: string | null
  /** The same, to be sent. */
  readonly sent: TraceSpan | null
  readonly keep: (child: Omit<KeptParts, 'clock' | 'startMs' | 'keep'>, options: SpanOptions) => KeptSpan
}

class KeptSpan implements TraceSpan {
  readonly #parts: KeptParts
  readonly #id: string
  readonly #attributes: Record<string, SpanValue> = {}
  #name: string
  #endMs: number | null = null
  #error: string | null = null

  constructor(parts: KeptParts) {
    this.#parts = parts
    this.#name = parts.name
    this.#id = parts.sent?.traceparent.split('-')[2] ?? randomBytes(8).toString('hex')
  }

  get startMs(): number {
    return this.#parts.startMs
  }

  get traceId(): string {
    return this.#parts.traceId
  }

  get traceparent(): string {
    return `00-${this.traceId}-${this.#id}-01`
  }

  get isRecorded(): boolean {
    return true
  }

  child(name: string, options: SpanOptions = {}): TraceSpan {
    const { sent, traceId, keep } = this.#parts
    const child = { name, traceId, parentId: this.#id, sent: sent?.child(name, options) ?? null }
    return keep(child, options)
  }

  rename(name: string): void {
    this.#name = name
    this.#parts.sent?.rename(name)
  }

  set(attributes: Readonly<Record<string, SpanValue>>): void {
    this.note(attributes)
    this.#parts.sent?.set(attributes)
  }

  /** What was told where it began. */
  note(attributes: Readonly<Record<string, SpanValue>>): void {
    Object.assign(this.#attributes, attributes)
  }

  fail(code: string): void {
    this.#error = code
    this.#parts.sent?.fail(code)
  }

  end(endMs?: number): void {
    this.#endMs ??= endMs ?? this.#parts.clock.monotonic()
    this.#parts.sent?.end(endMs)
  }

  told(originMs: number): AnsweredSpan {
    const { startMs, parentId, clock } = this.#parts
    return {
      span_id: this.#id,
      parent_span_id: parentId,
      name: this.#name,
      start_ms: rounded(startMs - originMs),
      duration_ms: rounded((this.#endMs ?? clock.monotonic()) - startMs),
      attributes: { ...this.#attributes },
      error: this.#error,
    }
  }
}

/** Microseconds are enough. */
const rounded = (ms: number): number => Math.round(ms * 1000) / 1000
