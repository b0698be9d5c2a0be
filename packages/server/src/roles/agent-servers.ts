// How the Postgres servers of an agent are reached from other hosts, by its settings, and how it reaches other agents,
// whose servers its own may follow.
import { hostname } from 'node:os'
import { FleetError } from '@fleetshard/core'
import { loopbackListening, type Listening, type Peers } from '../agent/mod.ts'
import { createAgentClient } from '../agent-api/mod.ts'
import { flagOf, type Config } from '../runtime/mod.ts'
import type { TlsFiles } from '../security/mod.ts'
import type { OpenCatalog } from './catalog.ts'
import { fetchOf, serverTls } from './certificates.ts'

/**
 * On loopback, plain, unless an address is named: then under TLS where there are certificates.
 * @throws FleetError `invalid_config` for a name without an address; `openAgent` refuses what is reached without TLS
 */
export function listeningOf(config: Config, tls: TlsFiles | null): Listening {
  const [address, name] = [config.get('agent.postgres-bind-host'), config.get('agent.postgres-host')]
  if (address === null && name === null) return loopbackListening
  if (address === null) {
    throw new FleetError(
      'invalid_config',
      `others are to reach the Postgres servers at ${String(name)}, and these listen on 127.0.0.1 only`,
      { hint: `say on which address they listen: ${flagOf('agent.postgres-bind-host')} 0.0.0.0 for all` },
    )
  }
  const isWildcard = address === '0.0.0.0' || address === '::'
  return { address, host: name ?? (isWildcard ? hostname() : address), tls: serverTls(config, tls) }
}

/** Other agents, as they are registered in the catalog at that moment. */
export function peersOf({ catalog, secrets }: OpenCatalog, tls: TlsFiles | null): Peers {
  const send = fetchOf(tls)
  return async (id, signal) => {
    const found = await catalog.agents.get(id, signal)
    if (found === null) throw new FleetError('agent_unavailable', `the agent ${id} is not registered`)
    const { url, tokenRef } = found.record
    const token = (await secrets.resolve(tokenRef, signal)) ?? ''
    return createAgentClient({ url, token, fetch: send })
  }
}
