// The certificates of a process, by its settings: what its servers show, and what its clients show and trust.
import { FleetError, type Clock } from '@fleetshard/core'
import { fetchOverTls } from '@fleetshard/core/tls'
import { COMMON_METRICS, type Config, type Logger, type Metrics, type ServerTls } from '../runtime/mod.ts'
import { openTlsFiles, type TlsFiles } from '../security/mod.ts'

/**
 * Null where none are named.
 * @throws FleetError `invalid_config` for files that cannot be used, and settings that do not go together
 */
export async function openTls(parts: {
  readonly config: Config
  readonly clock: Clock
  readonly log: Logger
}): Promise<TlsFiles | null> {
  const { config, clock, log } = parts
  const paths = { ca: config.get('tls.ca'), certificate: config.get('tls.cert'), key: config.get('tls.key') }
  if ((paths.certificate === null) !== (paths.key === null)) {
    throw new FleetError('invalid_config', 'a certificate needs its key, and a key its certificate', {
      hint: 'set both tls.cert and tls.key',
    })
  }
  if (config.get('tls.client-certs') === 'required' && (paths.certificate === null || paths.ca === null)) {
    throw new FleetError(
      'invalid_config',
      'tls.client-certs needs a certificate and an authority of our own',
      {
        hint: 'set tls.cert, tls.key and tls.ca; fleetshard certs init makes them',
      },
    )
  }
  if (paths.certificate === null && paths.ca === null) return null
  return openTlsFiles({ paths, clock, log })
}

/** Tells when our certificate ends; there is no value where there is none. */
export function observeCertificate(metrics: Metrics, tls: TlsFiles | null): void {
  metrics.observedGauge(COMMON_METRICS.tls_certificate_expiry_seconds, () => {
    const endsAtMs = tls?.expiresAtMs() ?? null
    return endsAtMs === null ? [] : [{ labels: [], value: endsAtMs / 1000 }]
  })
}

/** What servers show; null for plain HTTP. */
export function serverTls(config: Config, tls: TlsFiles | null): ServerTls | null {
  if (tls === null || config.get('tls.cert') === null) return null
  return { source: tls, clientCertificates: config.get('tls.client-certs') }
}

/** Scheme of our own HTTP ports. */
export const schemeOf = (config: Config): 'http' | 'https' =>
  config.get('tls.cert') === null ? 'http' : 'https'

/** fetch by these certificates. */
export function fetchOf(tls: TlsFiles | null): typeof fetch {
  // Not loaded before it is called: most servers never do.
  return tls === null ? (...asked) => fetch(...asked) : fetchOverTls(() => tls.context())
}
