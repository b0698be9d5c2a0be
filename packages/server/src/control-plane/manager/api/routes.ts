// All endpoints of the manager, for its server and for the documentation of permissions.
import type { Route } from '../../../runtime/http/mod.ts'
import { auditRoutes } from './audit.ts'
import { authRoutes } from './auth.ts'
import { failoverRoutes } from './failovers.ts'
import { healthRoutes } from './health.ts'
import { jobRoutes } from './jobs.ts'
import { keyspaceRoutes } from './keyspaces.ts'
import { nodeRoutes } from './nodes.ts'
import { reshardRoutes } from './reshard.ts'
import { secretRoutes } from './secrets.ts'
import { shardRoutes } from './shards.ts'
import { tableRoutes } from './tables.ts'
import { tokenRoutes } from './tokens.ts'
import { topologyRoutes } from './topology.ts'
import { vdiffRoutes } from './vdiff.ts'
import type { Api } from './context.ts'

/** In the order of the documentation. */
export const managerRoutes = (api: Api): readonly Route[] => [
  ...healthRoutes(api),
  ...keyspaceRoutes(api),
  ...tableRoutes(api),
  ...shardRoutes(api),
  ...failoverRoutes(api),
  ...nodeRoutes(api),
  ...jobRoutes(api),
  ...reshardRoutes(api),
  ...vdiffRoutes(api),
  ...topologyRoutes(api),
  ...tokenRoutes(api),
  ...secretRoutes(api),
  ...auditRoutes(api),
  ...authRoutes(api),
]
