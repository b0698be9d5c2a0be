// A new leader's first step: its live copy must have seen what the leader before it committed, for names and ids are
// looked up there.
import type { Catalog } from '../../catalog/mod.ts'
import type { Fleet } from './fleet.ts'

/** A keyspace that workers keep changing is read so often; commits are conditioned anyway. */
const readsMax = 5

/** Returns when the live copy is at least as new as the catalog was at the call. @throws the signal's reason */
export async function catchUp(catalog: Catalog, fleet: Fleet, signal: AbortSignal): Promise<void> {
  for (const { record } of await catalog.keyspaces.list(signal)) {
    for (let reads = 0; reads < readsMax; reads++) {
      const read = await catalog.keyspaces.read(record.name, signal)
      if (read === null) break
      const isThere = await fleet.shown(({ stored }) => {
        const live = stored.get(record.name)
        return (
          live?.epochRevision === read.epochRevision || (live?.snapshot.epoch ?? -1) > read.snapshot.epoch
        )
      })
      if (isThere) break
    }
  }
  const open = await catalog.jobs.list({ status: ['pending', 'running'] }, signal)
  await fleet.shown(({ jobs }) => open.every(({ record }) => jobs.has(record.id)))
}
