// TLS of the listener: by request inside the protocol, or from the first byte with ALPN `postgresql`.
import type { Socket } from 'node:net'
import { TLSSocket, type SecureContext } from 'node:tls'

/** What the listener encrypts with. */
export interface WireTls {
  /** Asked at each handshake, so that new certificates are taken for new connections. */
  readonly context: () => SecureContext
  /** Nobody logs in without TLS. */
  readonly isRequired: boolean
}

/** First byte of a TLS handshake. */
export const tlsHandshakeByte = 0x16
const protocolName = 'postgresql'

/** Wraps sockets of clients. */
export function createEncryption({
  context,
}: WireTls): (socket: Socket, options: { readonly direct: boolean }) => Socket {
  return (socket, { direct }) => {
    const encrypted = new TLSSocket(socket, {
      isServer: true,
      secureContext: context(),
      ALPNProtocols: [protocolName],
    })
    encrypted.once('secure', () => {
      // Without its name the peer may speak something else, and be a victim of a mix-up of protocols.
      if (direct && encrypted.alpnProtocol !== protocolName) encrypted.destroy()
    })
    return encrypted
  }
}
