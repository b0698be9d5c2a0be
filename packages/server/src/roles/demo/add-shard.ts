// Act: one more shard, on fresh servers, while there are rows. A ring is dealt anew only while it is empty, so the shard
// must come up without a range, and say so.
import type { Act } from './act.ts'
import { keysOn } from './servers.ts'
import { timed } from './wording.ts'

/** Adds a shard and checks that it owns nothing and has the tables. */
export const addShard: Act = {
  name: 'add_shard',
  title: 'one more shard is added',
  async run(stage) {
    const { admin, clock, dataSets, keyspace, replicas, signal } = stage
    const before = await stage.map()
    const name = `shard-${String(before.shards.size + 1).padStart(2, '0')}`
    const begunMs = clock.monotonic()
    const made = await admin.shards.create(
      { name, keyspace, nodes: 'embedded', replica_count: replicas },
      { signal },
    )
    const tookMs = clock.monotonic() - begunMs
    const failures: string[] = []
    if (made.status !== 'inactive')
      failures.push(`${name} is ${made.status}, though rows exist that it does not have`)
    if (made.vnode_count > 0) failures.push(`${name} owns ranges of the ring, though no row was moved to it`)
    const record = [...(await stage.map()).shards.values()].find(({ id }) => id === made.id)
    for (const node of record?.nodes ?? [])
      for (const dataSet of dataSets) {
        const rows = (await keysOn(stage, node, dataSet)).length
        if (rows > 0) failures.push(`${node.id} has ${String(rows)} rows of ${dataSet.table} already`)
      }
    const added = { name, status: made.status, reason: made.status_reason, servers: made.nodes.length }
    return {
      figures: { added_shard: added },
      lines: [
        `${name} with ${String(made.nodes.length)} servers and the tables, but without rows, in ${timed(tookMs)}`,
        `it is ${made.status}: ${made.status_reason ?? 'no reason given'}`,
      ],
      failures,
    }
  },
}
