// A small collector of OpenTelemetry: takes spans by OTLP over HTTP as JSON, and writes a trace as a tree.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A span as it was received. */
export interface CollectedSpan {
  readonly service: string
  readonly traceId: string
  readonly spanId: string
  /** Empty for one that begins its trace. */
  readonly parentSpanId: string
  readonly name: string
  readonly startNs: bigint
  readonly endNs: bigint
  readonly attributes: Readonly<Record<string, unknown>>
  readonly failed: boolean
}

interface OtlpAttribute {
  readonly key: string
  readonly value: Readonly<Record<string, unknown>>
}
interface OtlpSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly OtlpAttribute[]
  readonly status?: { readonly code?: number }
}
interface OtlpRequest {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly OtlpAttribute[] }
    readonly scopeSpans: readonly { readonly spans: readonly OtlpSpan[] }[]
  }[]
}

/** A listening collector. */
export interface Collector extends AsyncDisposable {
  readonly url: string
  readonly spans: readonly CollectedSpan[]
  /** Values of the header `authorization` that came. */
  readonly authorizations: ReadonlySet<string>
  /** All that was received, as it came. */
  readonly bodies: readonly string[]
}

/** Listens on a free port of this machine. */
export async function startCollector(): Promise<Collector> {
  const spans: CollectedSpan[] = []
  const bodies: string[] = []
  const authorizations = new Set<string>()
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const isTraces = request.method === 'POST' && request.url === '/v1/traces'
      if (isTraces) {
        const body = Buffer.concat(chunks).toString()
        bodies.push(body)
        spans.push(...spansOf(JSON.parse(body) as OtlpRequest))
        authorizations.add(request.headers.authorization ?? '')
      }
      response.writeHead(isTraces ? 200 : 404, { 'content-type': 'application/json' }).end('{}')
    })
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${String(port)}`,
    spans,
    bodies,
    authorizations,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => {
          resolve()
        })
        server.closeAllConnections()
      }),
  }
}

const valuesOf = (attributes: readonly OtlpAttribute[]): Record<string, unknown> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))

function spansOf({ resourceSpans }: OtlpRequest): CollectedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = String(valuesOf(resource.attributes)['service.name'])
    return scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        service,
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? '',
        name: span.name,
        startNs: BigInt(span.startTimeUnixNano),
        endNs: BigInt(span.endTimeUnixNano),
        attributes: valuesOf(span.attributes),
        failed: span.status?.code === 2,
      })),
    )
  })
}

/** One line a span, children below their parents in the order of their beginnings; `shows` adds to a line. */
export function treeOf(
  spans: readonly CollectedSpan[],
  shows: (span: CollectedSpan) => string = () => '',
): string {
  const ids = new Set(spans.map(({ spanId }) => spanId))
  const ordered = spans.toSorted((a, b) => (a.startNs < b.startNs ? -1 : 1))
  const below = (parent: string, depth: number): string[] =>
    ordered
      .filter(({ parentSpanId }) => (ids.has(parentSpanId) ? parentSpanId : '') === parent)
      .flatMap((span) => [
        `${'  '.repeat(depth)}${span.service} ${span.name}${shows(span)}${span.failed ? ' !' : ''}`,
        ...below(span.spanId, depth + 1),
      ])
  return below('', 0).join('\n')
}
