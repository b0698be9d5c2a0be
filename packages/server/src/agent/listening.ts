// Where the Postgres servers of an agent listen, by which name others reach them, and with which certificates. On
// loopback they may be plain; beyond it they speak TLS, and nothing else.
import { X509Certificate } from 'node:crypto'
import { createServer, isIP } from 'node:net'
import { FleetError } from '@fleetshard/core'
import type { TlsTexts } from '@fleetshard/core/tls'
import type { ServerTls } from '../runtime/mod.ts'

/** Where all servers of an agent listen. */
export interface Listening {
  /** Address or host name that Postgres listens on; `0.0.0.0` and `::` for all of them. */
  readonly address: string
  /** Host by which others reach the servers; their certificate names it. */
  readonly host: string
  /** Null: plain, for this machine only. Else no session over TCP begins without TLS. */
  readonly tls: ServerTls | null
}

/** As on a laptop. */
export const loopbackListening: Listening = { address: '127.0.0.1', host: '127.0.0.1', tls: null }

/** A certificate of the servers with its key, and the authorities that they trust, in PEM. */
export interface ServerCertificates {
  readonly ca: string
  readonly certificate: string
  readonly key: string
}

/** True for addresses that only this machine reaches. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/**
 * Before any server starts.
 * @throws FleetError `invalid_config` for an address beyond loopback without TLS, for certificates that are not
 * complete or do not name the host, and for an address that this machine has not
 */
export async function assertListening({ address, host, tls }: Listening): Promise<void> {
  if (tls === null && !(isLoopback(address) && isLoopback(host))) {
    const beyond = isLoopback(address) ? host : address
    throw new FleetError(
      'invalid_config',
      `the Postgres servers of the agent do not listen on ${beyond}: without TLS whoever reaches the network reads along`,
      { hint: 'give the agent tls.cert, tls.key and tls.ca, or let its servers listen on 127.0.0.1' },
    )
  }
  if (tls !== null) assertNamed(host, certificatesOf(tls.source.texts()))
  await assertOwnAddress(address)
}

/** Everybody who connects would refuse to: each verifies the name. */
function assertNamed(host: string, { certificate }: ServerCertificates): void {
  const shown = new X509Certificate(certificate)
  const isNamed = isIP(host) === 0 ? shown.checkHost(host) : shown.checkIP(host)
  if (isNamed !== undefined) return
  throw new FleetError(
    'invalid_config',
    `the certificate of the agent does not name ${host}: nobody would talk to its Postgres servers there`,
    {
      hint: `issue one that does (fleetshard certs issue NAME --host ${host}), or say by agent.postgres-host which host others connect to`,
    },
  )
}

/** @throws FleetError `invalid_config` where one is missing */
export function certificatesOf({ ca, certificate, key }: TlsTexts): ServerCertificates {
  if (ca !== null && certificate !== null && key !== null) return { ca, certificate, key }
  throw new FleetError(
    'invalid_config',
    'Postgres servers with TLS need a certificate, its key, and an authority by which they know others',
    { hint: 'set tls.cert, tls.key and tls.ca; fleetshard certs init makes them' },
  )
}

/** Postgres would only say that it cannot bind, each time it is started. */
async function assertOwnAddress(address: string): Promise<void> {
  const code = await new Promise<string | null>((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code ?? error.message)
    })
    server.listen({ host: address, port: 0, exclusive: true }, () => {
      server.close(() => {
        resolve(null)
      })
    })
  })
  if (code === null) return
  throw new FleetError('invalid_config', `the Postgres servers cannot listen on ${address}: ${code}`, {
    hint: 'name an address of this machine in agent.postgres-bind-host',
  })
}
