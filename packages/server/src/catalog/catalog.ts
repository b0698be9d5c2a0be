// Makes the typed catalog of contract.ts above a store.
import type { Clock } from '@fleetshard/core'
import { readCluster } from './cluster.ts'
import type { Catalog } from './contract.ts'
import { createJobs } from './jobs.ts'
import { createKeyspaces } from './keyspaces.ts'
import { createQuorums } from './quorums.ts'
import { createAgents, createRouters } from './registry.ts'
import { changeRouting } from './routing.ts'
import type { SecretSealer } from './sealer.ts'
import { createSecrets } from './secrets.ts'
import { createSessions } from './sessions.ts'
import { createShards } from './shards.ts'
import type { CatalogStore } from './store.ts'
import { createTables } from './tables.ts'
import { createTokens } from './tokens.ts'

export interface CatalogDeps {
  readonly store: CatalogStore
  readonly clock: Clock
  /** Makes ids: `crypto.randomUUID` in production. */
  readonly uuid: () => string
  /** What seals secrets; null, or left out, stores them as they are. */
  readonly sealer?: SecretSealer | null
}

/** The typed catalog above a store. */
export function createCatalog(deps: CatalogDeps): Catalog {
  const { store } = deps
  return {
    store,
    keyspaces: createKeyspaces(store),
    shards: createShards(store),
    tables: createTables(store),
    jobs: createJobs(deps),
    quorums: createQuorums(store),
    routers: createRouters(store),
    agents: createAgents(store),
    secrets: createSecrets({ store, sealer: deps.sealer ?? null }),
    tokens: createTokens(store),
    sessions: createSessions(store),
    cluster: (signal) => readCluster(deps, signal),
    changeRouting: (keyspace, plan, options = {}) => changeRouting(store, keyspace, plan, options),
  }
}
