// Who may reach a process that asks nobody who he is: this machine only, unless the operator says otherwise.
import { FleetError } from '@fleetshard/core'
import { flagOf, type Config } from '../runtime/mod.ts'

/** True for addresses that only this machine reaches. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}

/**
 * To be called before anything listens.
 * @throws FleetError `invalid_config` for an address that others reach, unless they are asked who they are, or `insecure`
 * is set
 */
export function refuseOpenBind(config: Config): void {
  const host = config.get('bind-host')
  if (isLoopback(host) || config.get('auth') === 'required' || config.get('insecure')) return
  throw new FleetError(
    'invalid_config',
    `others could reach ${host}, and nobody is asked who he is: whoever connects may do everything`,
    {
      hint: `add ${flagOf('auth')} required, or listen on this machine only (${flagOf('bind-host')} 127.0.0.1), or add ${flagOf('insecure')} in a network that you trust`,
    },
  )
}

/** The host as it stands in a URL. */
export function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

/** How processes of this machine reach a server that listens on that address. */
export function reachableHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  return host === '::' ? '::1' : host
}
