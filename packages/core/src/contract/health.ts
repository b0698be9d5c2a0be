// Contract of the manager's /health and /ready.
import { Type, type Static } from 'typebox'
import { closed, nullable, oneOf } from './schema.ts'

/** Answer of GET /health: the process is alive. */
export const Health = closed({
  status: oneOf(['ok']),
  role: Type.String(),
  version: Type.String(),
})
/** Answer of GET /health: the process is alive. */
export type Health = Static<typeof Health>

/** Answer of the manager's GET /ready; HTTP 503 while `starting` or `stopping`. */
export const ManagerReady = closed({
  status: oneOf(
    ['ready', 'stale', 'starting', 'stopping'],
    'stale: the catalog does not answer; reads are served from the cache, changes are refused',
  ),
  id: Type.String(),
  leader: Type.Boolean({ description: 'this manager leads' }),
  leader_url: nullable(Type.String()),
  catalog: closed({
    reachable: Type.Boolean(),
    age_ms: nullable(Type.Integer({ minimum: 0, description: 'since the catalog was last heard of' })),
  }),
})
/** Answer of the manager's GET /ready; HTTP 503 while `starting` or `stopping`. */
export type ManagerReady = Static<typeof ManagerReady>
