// Opens the traces of a role, where an endpoint for them is configured; else nothing of OpenTelemetry is loaded.
import { randomBytes } from 'node:crypto'
import type { Config, Tracing } from '../runtime/mod.ts'

/** Null where no endpoint is configured. */
export async function openTracing(
  config: Config,
  { role, version }: { readonly role: string; readonly version: string },
): Promise<Tracing | null> {
  const url = config.get('trace.otlp-url')
  if (url === null) return null
  const authorization = config.get('trace.otlp-authorization')
  const { createOtelTracing } = await import('./tracing/otel.ts')
  return createOtelTracing({
    url: endpointOf(url),
    headers: authorization === null ? {} : { authorization },
    service: `fleetshard-${role}`,
    version,
    instance: `${role}-${randomBytes(4).toString('hex')}`,
    ratio: config.get('trace.sample-percent') / 100,
    random: Math.random,
  })
}

/** A base, as OTEL_EXPORTER_OTLP_ENDPOINT names one, gets the path of traces; one with a path is taken as it is. */
function endpointOf(url: string): string {
  const { pathname } = new URL(url)
  return pathname === '/' ? new URL('/v1/traces', url).href : url
}
