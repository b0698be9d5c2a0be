// Which shards the example works on: those of a topology file if TOPOLOGY names one, else those of a router.
import { connect, type FleetShard } from '@fleetshard/client'

/** Connects by what the environment says: TOPOLOGY, or ROUTER_URL with MODE (`http` or `direct`). */
export function connectFromEnvironment(): Promise<FleetShard> {
  const { TOPOLOGY: topology, ROUTER_URL: url, MODE: mode } = process.env
  if (topology !== undefined) return connect({ topology })
  return connect({ url: url ?? 'http://127.0.0.1:8080', mode: mode === 'http' ? 'http' : 'direct' })
}
