// A server whose port was taken while the cluster was down starts on another one. The records of shards are brought in
// line with that before the router and the manager read them.
import type { NodeRecord, ShardRecord } from '@fleetshard/core'
import type { Agent, ServerStatus } from '../../agent/mod.ts'
import type { Catalog } from '../../catalog/mod.ts'
import type { Logger } from '../../runtime/mod.ts'

/** One commit takes no more. */
const shardsAtOnceMax = 32

/** @throws FleetError `catalog_unavailable` */
export async function recordMovedNodes(
  catalog: Catalog,
  { agent, id }: { readonly agent: Agent; readonly id: string },
  log: Logger,
): Promise<void> {
  const servers = new Map(agent.list().map((server) => [server.id, server]))
  const moved = (shard: ShardRecord): ShardRecord | null => {
    const nodes = shard.nodes.map((node) =>
      movedTo(node, node.agent === id ? servers.get(node.id) : undefined),
    )
    return nodes.some((node, index) => node !== shard.nodes[index]) ? { ...shard, nodes } : null
  }
  for (const { record } of await catalog.keyspaces.list()) {
    for (;;) {
      const stored = await catalog.keyspaces.read(record.name)
      if (stored === null || !stored.snapshot.shards.some((shard) => moved(shard) !== null)) break
      await catalog.changeRouting(record.name, ({ shards }) => ({
        put: shards.flatMap((shard) => moved(shard) ?? []).slice(0, shardsAtOnceMax),
      }))
      log.info({ keyspace: record.name }, 'servers have other ports than before; their shards know it now')
    }
  }
}

function movedTo(node: NodeRecord, server: ServerStatus | undefined): NodeRecord {
  if (server === undefined || server.port === node.port) return node
  return { ...node, port: server.port }
}
