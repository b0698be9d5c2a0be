// TLS of a process as its servers and clients see it: certificates that may be replaced while it runs. Connections go on
// with those they began with; new ones take the new ones.
import { tlsVersionMin, type TlsTexts } from '@fleetshard/core/tls'
import {
  createServer as createPlainServer,
  type RequestListener,
  type Server,
  type ServerOptions,
} from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { SecureContext } from 'node:tls'

/** Certificates as they are now. */
export interface TlsSource {
  /** The texts, for libraries that want them; else use the context. */
  texts(): TlsTexts
  /** The same as Node's TLS takes them, for both sides. */
  context(): SecureContext
  /** Told after they were replaced, until the returned function is called. */
  onChange(listener: () => void): () => void
}

/** TLS of the servers of a process; its source has a certificate. */
export interface ServerTls {
  readonly source: TlsSource
  /** `required`: a caller without a certificate of our authorities does not get beyond the handshake. */
  readonly clientCertificates: 'ignored' | 'required'
}

/** A handshake must be done by then. */
const handshakeMsMax = 10_000

/** An HTTP server, with TLS or without; not listening yet. */
export function createHttpServer(
  options: ServerOptions,
  tls: ServerTls | null,
  listener: RequestListener,
): Server {
  if (tls === null) return createPlainServer(options, listener)
  const { source, clientCertificates } = tls
  const isMutual = clientCertificates === 'required'
  const server = createSecureServer(
    {
      ...options,
      ...contextOptions(source.texts()),
      handshakeTimeout: handshakeMsMax,
      requestCert: isMutual,
      rejectUnauthorized: isMutual,
    },
    listener,
  )
  const stop = source.onChange(() => {
    server.setSecureContext(contextOptions(source.texts()))
  })
  server.once('close', stop)
  return server
}

function contextOptions({ ca, certificate, key }: TlsTexts): {
  readonly minVersion: typeof tlsVersionMin
  readonly cert?: string
  readonly key?: string
  readonly ca?: string
} {
  return {
    minVersion: tlsVersionMin,
    ...(certificate === null || key === null ? {} : { cert: certificate, key }),
    ...(ca === null ? {} : { ca }),
  }
}
