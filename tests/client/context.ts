// Servers, a router and clients for the conformance suite.
import { parseTopologyFile } from '@fleetshard/core/topology-file'
import { connect } from '@fleetshard/client'
import { startTestPostgres, postgresBuilds } from '../../packages/server/src/engine/postgres/wire/testing.ts'
import { startTestRouter } from '../../packages/server/src/data-plane/router/testing.ts'
import type { ConformanceContext } from './conformance.ts'
import { schema, tables } from './schema.ts'
import { topologyText } from './static-fleet.ts'

/** Starts one. */
export async function startContext(mode: 'http' | 'direct'): Promise<ConformanceContext & AsyncDisposable> {
  const [build] = postgresBuilds()
  if (build === undefined) throw new Error('there is no Postgres')
  const server = await startTestPostgres(build)
  const router = await startTestRouter(server, { shards: 2, tables, schema })
  const open: ConformanceContext['connect'] = (options = {}) =>
    connect({
      url: router.url,
      keyspace: 'app',
      mode,
      fallback: false,
      pool: { connectionsMax: 4 },
      ...options,
    })
  const db = await open({ pool: { connectionsMax: 8 } })
  return {
    mode,
    db,
    router,
    connect: open,
    async [Symbol.asyncDispose]() {
      await db.close()
      await router[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}

/** Starts one whose clients have a topology file, over databases that nobody has claimed. */
export async function startStaticContext(): Promise<ConformanceContext & AsyncDisposable> {
  const [build] = postgresBuilds()
  if (build === undefined) throw new Error('there is no Postgres')
  const server = await startTestPostgres(build)
  // The router is one of the same file: it shows where keys lie, and what is in the databases.
  const { snapshot } = parseTopologyFile(topologyText(['a', 'b']), { name: 'topology' })
  const router = await startTestRouter(server, {
    shards: 2,
    snapshot,
    identityCheck: 'static',
    // Where that schema is, idempotency keys have their table.
    schema: `${schema}; create schema fleetshard`,
  })
  const places = router.snapshot().shards.map(({ nodes }) => nodes[0]!)
  const open: ConformanceContext['connect'] = (options = {}) =>
    connect({
      topology: topologyText(
        places.map(({ database }) => database),
        places[0],
      ),
      keyspace: 'app',
      pool: { connectionsMax: 4 },
      ...options,
    })
  const db = await open({ pool: { connectionsMax: 8 } })
  return {
    mode: 'direct',
    db,
    router,
    connect: open,
    async [Symbol.asyncDispose]() {
      await db.close()
      await router[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}
