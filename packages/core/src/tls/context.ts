// From PEM texts to what Node's TLS takes. Used by servers, by commands and by the client, so that all of them refuse
// the same things in the same words.
import { readFileSync } from 'node:fs'
import { createSecureContext, type SecureContext } from 'node:tls'
import { FleetError } from '../errors/fleet-error.ts'

/** What one side shows and trusts, in PEM. */
export interface TlsTexts {
  /** Authorities whose certificates are trusted; null for those of the system. */
  readonly ca: string | null
  /** With its chain; null shows none. */
  readonly certificate: string | null
  readonly key: string | null
}

/** Certificates, read: opaque. */
export type TlsContext = SecureContext

/** Oldest version that is spoken, by any side. */
export const tlsVersionMin = 'TLSv1.2'

/** @throws FleetError `invalid_config` for texts that are no PEM, or a key of another certificate */
export function makeSecureContext({ ca, certificate, key }: TlsTexts): SecureContext {
  if ((certificate === null) !== (key === null)) {
    throw new FleetError('invalid_config', 'a certificate needs its key, and a key its certificate', {
      hint: 'give both, or neither',
    })
  }
  try {
    return createSecureContext({
      minVersion: tlsVersionMin,
      ...(ca === null ? {} : { ca }),
      ...(certificate === null || key === null ? {} : { cert: certificate, key }),
    })
  } catch (cause) {
    throw new FleetError(
      'invalid_config',
      `the certificates cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`,
      { hint: 'give PEM files, the key being that of the certificate and without a passphrase', cause },
    )
  }
}

/** PEM as it is, or the path of a file with it. @throws FleetError `invalid_config` */
export function pemOf(textOrPath: string): string {
  if (textOrPath.includes('-----BEGIN')) return textOrPath
  try {
    return readFileSync(textOrPath, 'utf8')
  } catch (cause) {
    throw new FleetError('invalid_config', `${textOrPath} cannot be read`, {
      hint: 'check the path and the rights of the file',
      cause,
    })
  }
}
