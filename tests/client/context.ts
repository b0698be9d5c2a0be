// Servers, a router and clients for the conformance suite.
import { connect } from '@fleetshard/client'
import { startTestPostgres, postgresBuilds } from '../../packages/server/src/engine/postgres/wire/testing.ts'
import { startTestRouter } from '../../packages/server/src/data-plane/router/testing.ts'
import type { ConformanceContext } from './conformance.ts'
import { schema, tables } from './schema.ts'

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
