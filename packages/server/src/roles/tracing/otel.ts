// Traces by OpenTelemetry's own SDK, sent by OTLP over HTTP. Loaded only where an endpoint is configured.
import {
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Context,
  type Span,
  type Tracer,
} from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOnSampler,
  BasicTracerProvider,
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-base'
import type { SpanOptions, TraceSpan, Tracing } from '../../runtime/mod.ts'

/** What is sent where. */
export interface OtelOptions {
  /** `http://localhost:4318/v1/traces` */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** `fleetshard-router` */
  readonly service: string
  readonly version: string
  readonly instance: string
  /** Part of the traces that begin here which is recorded, 0 to 1; those begun elsewhere go by their own flag. */
  readonly ratio: number
  /** From 0 up to 1, to choose that part. */
  readonly random: () => number
}

/** Spans that wait to be sent; more are dropped. */
const queueMax = 4_096
const batchMax = 512
const sendEveryMs = 1_000
const sendMsMax = 5_000

const KINDS = { server: SpanKind.SERVER, client: SpanKind.CLIENT, internal: SpanKind.INTERNAL } as const
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/
const zeros = /^0+$/

/** Begins to send. Sets nothing global: several may live in one process. */
export function createOtelTracing(options: OtelOptions): Tracing {
  const exporter = new OTLPTraceExporter({
    url: options.url,
    headers: { ...options.headers },
    timeoutMillis: sendMsMax,
  })
  const processor = new BatchSpanProcessor(exporter, {
    maxQueueSize: queueMax,
    maxExportBatchSize: batchMax,
    scheduledDelayMillis: sendEveryMs,
    exportTimeoutMillis: sendMsMax,
  })
  const shared = {
    resource: resourceFromAttributes({
      'service.name': options.service,
      'service.version': options.version,
      'service.instance.id': options.instance,
    }),
    spanProcessors: [processor],
  }
  const root = new TraceIdRatioBasedSampler(options.ratio)
  const provider = new BasicTracerProvider({ ...shared, sampler: new ParentBasedSampler({ root }) })
  const tracer = provider.getTracer('fleetshard', options.version)
  // For what was chosen before: the SDK itself makes a span, and ids for it, to find out that nobody records it.
  const always = new BasicTracerProvider({ ...shared, sampler: new AlwaysOnSampler() })
  const chosen = always.getTracer('fleetshard', options.version)
  return {
    begin: (name, { parent, ...more }) => begin(tracer, parentOf(parent), name, more),
    beginRecorded(name, { parent, ...more }) {
      const context = parentOf(parent)
      if (context === ROOT_CONTEXT)
        return options.random() < options.ratio ? begin(chosen, context, name, more) : null
      const span = begin(tracer, context, name, more)
      return span.isRecorded ? span : null
    },
    shutdown: () => provider.shutdown().catch(() => undefined),
  }
}

function parentOf(traceparent: string | null): Context {
  const [, traceId = '', spanId = '', flags = '00'] = TRACEPARENT.exec(traceparent ?? '') ?? []
  if (traceId === '' || zeros.test(traceId) || zeros.test(spanId)) return ROOT_CONTEXT
  const traceFlags = Number.parseInt(flags, 16) & TraceFlags.SAMPLED
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true })
}

function begin(tracer: Tracer, context: Context, name: string, options: SpanOptions): TraceSpan {
  const { kind = 'internal', attributes = {}, startMs } = options
  const span = tracer.startSpan(
    name,
    {
      kind: KINDS[kind],
      attributes: { ...attributes },
      ...(startMs === undefined ? {} : { startTime: timeOf(startMs) }),
    },
    context,
  )
  return new OtelSpan(tracer, span)
}

/** The SDK takes milliseconds since 1970. */
const timeOf = (monotonicMs: number): number => performance.timeOrigin + monotonicMs

class OtelSpan implements TraceSpan {
  readonly #tracer: Tracer
  readonly #span: Span

  constructor(tracer: Tracer, span: Span) {
    this.#tracer = tracer
    this.#span = span
  }

  get traceId(): string {
    return this.#span.spanContext().traceId
  }

  get traceparent(): string {
    const { traceId, spanId, traceFlags } = this.#span.spanContext()
    return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
  }

  get isRecorded(): boolean {
    return this.#span.isRecording()
  }

  child(name: string, options: SpanOptions = {}): TraceSpan {
    return begin(this.#tracer, trace.setSpan(ROOT_CONTEXT, this.#span), name, options)
  }

  rename(name: string): void {
    this.#span.updateName(name)
  }

  set(attributes: Parameters<TraceSpan['set']>[0]): void {
    this.#span.setAttributes({ ...attributes })
  }

  fail(code: string): void {
    this.#span.setAttribute('error.type', code)
    this.#span.setStatus({ code: SpanStatusCode.ERROR, message: code })
  }

  end(endMs?: number): void {
    this.#span.end(endMs === undefined ? undefined : timeOf(endMs))
  }
}
