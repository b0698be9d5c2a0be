// Makes up for fences that did not reach their end: their shards may demand an epoch that the catalog does not have,
// and would let no router in. The leader raises the epoch by an empty change and takes the job away with it.
import type { JobId, KeyspaceName } from '@fleetshard/core'
import type { Leadership } from '../../../catalog/mod.ts'
import type { Leader } from '../leader.ts'
import type { Parts } from '../parts.ts'
import { fenceJobType } from './fence.ts'

/** How often the live copy is looked at; nothing is asked of the catalog for it. */
const lookEveryMs = 1_000

/** Looks for such fences while this manager leads, until the signal aborts. Never rejects. */
export async function repairFences(
  parts: Parts,
  leader: Pick<Leader, 'leadership'>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await parts.clock.sleep(lookEveryMs, signal).catch(() => undefined)
    const leadership = leader.leadership()
    if (signal.aborted || leadership === null || !parts.fleet.isLoaded()) continue
    for (const [id, { record }] of parts.fleet.state().jobs) {
      if (record.type !== fenceJobType) continue
      try {
        await repair(parts, leadership, { id, keyspace: record.keyspace }, signal)
      } catch (error) {
        parts.log.warn({ err: error, keyspace: record.keyspace, job: id }, 'a fence is not made up for yet')
      }
    }
  }
}

/** Under the mutex: a fence of this process that is under way ends before it is looked at. */
async function repair(
  { catalog, routing, mutex, log }: Parts,
  { condition, lost }: Leadership,
  { id, keyspace }: { readonly id: JobId; readonly keyspace: KeyspaceName },
  stopping: AbortSignal,
): Promise<void> {
  const signal = AbortSignal.any([stopping, lost])
  await mutex.run(keyspace, signal, async () => {
    const job = await catalog.jobs.get(id, signal)
    if (job === null) return
    if ((await catalog.keyspaces.get(keyspace, signal)) === null) {
      const { conditions, writes } = catalog.jobs.deleteParts(job)
      await catalog.store.commit([condition, ...conditions], writes, signal)
      return
    }
    // A fence is for the epoch after the one it began at, and epochs only rise: one more is always enough.
    const { snapshot } = await routing.change(keyspace, () => ({ extras: catalog.jobs.deleteParts(job) }), {
      condition,
      signal,
    })
    log.warn(
      { keyspace, job: id, epoch: snapshot.epoch },
      'a fence did not reach its end; the epoch was raised',
    )
  })
}
