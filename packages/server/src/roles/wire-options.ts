// The settings of the Postgres port, with the files they name read and their combinations checked.
import { readFile } from 'node:fs/promises'
import { FleetError } from '@fleetshard/core'
import type { WireAuthentication, WireOptions, WireTls } from '../data-plane/router/mod.ts'
import { flagOf, type Config, type Service } from '../runtime/mod.ts'
import { openTlsFiles, type TlsFiles } from '../security/mod.ts'
import { isLoopback } from './loopback.ts'
import type { RoleParts } from './process.ts'

/** The port's settings, and what follows its certificate where that is its own. */
export interface WireSetup {
  readonly wire: WireOptions
  readonly certificates: readonly Service[]
}

/** @throws FleetError `invalid_config` for `trust` where others could connect, and for files that cannot be read */
export async function wireOptions(parts: RoleParts): Promise<WireSetup> {
  const { config } = parts
  const own = await ownCertificate(parts)
  const shared = config.get('tls.cert') === null ? null : parts.tls
  return {
    certificates: own === null ? [] : [own],
    wire: {
      host: config.get('bind-host'),
      port: config.get('router.wire-port'),
      limits: {
        connectionsMax: config.get('router.wire-connections-max'),
        connectionsPerAddressMax: config.get('router.wire-connections-per-address'),
        loginTimeoutMs: config.get('router.wire-login-ms'),
        messageBytesMax: config.get('router.wire-message-bytes-max'),
        failuresPerMinute: config.get('router.wire-failures-per-minute'),
      },
      statementRates: {
        perLogin: config.get('router.wire-statements-per-second'),
        perAddress: config.get('router.wire-statements-per-address'),
      },
      authentication: await authentication(config),
      tls: wireTls(config, own ?? shared),
    },
  }
}

function wireTls(config: Config, certificates: TlsFiles | null): WireTls | null {
  const isRequired = config.get('router.wire-tls') === 'required'
  if (certificates !== null) return { context: () => certificates.context(), isRequired }
  if (!isRequired) return null
  throw new FleetError('invalid_config', 'router.wire-tls=required, and there is no certificate', {
    hint: 'set tls.cert and tls.key, or router.wire-tls-cert and router.wire-tls-key',
  })
}

async function authentication(config: Config): Promise<WireAuthentication> {
  if (config.get('router.wire-auth') === 'trust') {
    if (isLoopback(config.get('bind-host'))) return { kind: 'trust' }
    throw new FleetError(
      'invalid_config',
      'router.wire-auth=trust would let everybody in who reaches the router',
      {
        hint: `use scram, or listen on this machine only (${flagOf('bind-host')} 127.0.0.1)`,
      },
    )
  }
  const path = config.get('router.wire-users-file')
  if (path !== null) return { kind: 'file', path, text: await readText(path, 'router.wire-users-file') }
  return { kind: 'query', text: config.get('router.wire-auth-query') }
}

async function ownCertificate({ config, clock, log }: RoleParts): Promise<TlsFiles | null> {
  const certificate = config.get('router.wire-tls-cert')
  const key = config.get('router.wire-tls-key')
  if (certificate === null && key === null) return null
  if (certificate === null || key === null) {
    throw new FleetError('invalid_config', 'TLS of the Postgres port needs a certificate and its key', {
      hint: 'set both router.wire-tls-cert and router.wire-tls-key',
    })
  }
  return openTlsFiles({ paths: { ca: null, certificate, key }, clock, log })
}

async function readText(path: string, setting: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new FleetError('invalid_config', `${setting}: ${path} cannot be read`, {
      hint: 'check the path and the rights of the file',
      cause,
    })
  }
}
