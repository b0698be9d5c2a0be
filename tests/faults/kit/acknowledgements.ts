// Looks at every server of a shard from outside: does it acknowledge writes? Once a server of a newer timeline has, one
// of an older timeline may never again, whoever still reaches it. Invariant 3 of the architecture.
import type { Shard } from '@fleetshard/core/contract'
import type { Client } from 'pg'
import type { World } from '../scenario.ts'

interface Acknowledged {
  readonly timeline: number
  readonly endedMs: number
}

/** Watches all shards until the scenario is over. One attempt at a time and server: one that waits is left waiting. */
export function observeAcknowledgements(world: World): void {
  const waiting = new Set<string>()
  const newest = new Map<string, Acknowledged>()
  world.observer.add(async (breach) => {
    for (const shard of await world.cluster.shards()) {
      for (const { id } of shard.nodes) {
        if (waiting.has(id)) continue
        waiting.add(id)
        void attempt(world, shard, id)
          .then((found) => {
            const before = newest.get(shard.id)
            if (found === null) return
            if (before !== undefined && found.timeline < before.timeline && found.beganMs > before.endedMs) {
              world.count('two primaries')
              breach(`${id} acknowledged a write on timeline ${String(found.timeline)} after its successor`)
            }
            if (before === undefined || found.timeline > before.timeline) {
              newest.set(shard.id, { timeline: found.timeline, endedMs: performance.now() })
            }
          })
          // A server that is down, or goes down meanwhile, acknowledges nothing.
          .catch(() => undefined)
          .finally(() => waiting.delete(id))
      }
    }
  })
}

/** Null: it is a replica, or its answer was none. */
async function attempt(
  { cluster }: World,
  shard: Shard,
  id: string,
): Promise<{ readonly timeline: number; readonly beganMs: number } | null> {
  const client = await cluster.connectTo(shard, id)
  try {
    const { rows } = await client.query<{ file: string }>(
      'select pg_walfile_name(pg_current_wal_lsn()) as file where not pg_is_in_recovery()',
    )
    const [row] = rows
    if (row === undefined) return null
    const beganMs = performance.now()
    const isConfirmed = await writeMark(client)
    return isConfirmed ? { timeline: Number.parseInt(row.file.slice(0, 8), 16), beganMs } : null
  } finally {
    await client.end()
  }
}

/** False when the wait for replicas was cut short, which Postgres tells by a warning only. */
async function writeMark(client: Client): Promise<boolean> {
  let warned = false
  client.on('notice', () => (warned = true))
  await client.query("select pg_logical_emit_message(true, 'faults', 'observer')")
  return !warned
}
