// TLS of the listener: by request inside the protocol, or from the first byte with ALPN `postgresql`.
import type { Socket } from 'node:net'
import { createSecureContext, TLSSocket, type SecureContext } from 'node:tls'
import { FleetError } from '@fleetshard/core'

/** Certificate and key in PEM. */
export interface WireCertificate {
  readonly certificate: string
  readonly key: string
}

/** First byte of a TLS handshake. */
export const tlsHandshakeByte = 0x16
const protocolName = 'postgresql'

/**
 * Wraps sockets of clients.
 * @throws FleetError `invalid_config` when the certificate or the key cannot be used
 */
export function createEncryption({
  certificate,
  key,
}: WireCertificate): (socket: Socket, options: { readonly direct: boolean }) => Socket {
  const secureContext = contextOf(certificate, key)
  return (socket, { direct }) => {
    const encrypted = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: [protocolName] })
    encrypted.once('secure', () => {
      // Without its name the peer may speak something else, and be a victim of a mix-up of protocols.
      if (direct && encrypted.alpnProtocol !== protocolName) encrypted.destroy()
    })
    return encrypted
  }
}

function contextOf(cert: string, key: string): SecureContext {
  try {
    return createSecureContext({ cert, key, minVersion: 'TLSv1.2' })
  } catch (cause) {
    throw new FleetError('invalid_config', 'the certificate of the Postgres port cannot be used', {
      hint: 'give the certificate and its key in PEM with router.wire-tls-cert and router.wire-tls-key',
      cause,
    })
  }
}
