// The shard map at hand: right, live, and never older than before.
import { expect, it } from 'vitest'
import { parseEpoch } from '@fleetshard/core'
import type { ConformanceContext } from '../conformance.ts'
import { until } from '../../e2e/harness/until.ts'

/** The cases. */
export function topologyCases(context: () => ConformanceContext): void {
  it('finds the same shard as the router', async () => {
    const { db, router } = context()
    for (const key of ['a', 'user-123', 'é', '42', 'x'.repeat(200)]) {
      const answer = await fetch(`${router.url}/v1/shard-for-key?keyspace=app&key=${encodeURIComponent(key)}`)
      const { shard_id: shardId, epoch } = (await answer.json()) as { shard_id: string; epoch: number }
      expect(db.shardFor(key)).toMatchObject({ shardId, epoch })
    }
    expect(db.shardFor(42)).toEqual(db.shardFor('42'))
    expect(db.shardFor(42n)).toEqual(db.shardFor('42'))
  })
}

/** Those of a map that a router tells. */
export function liveTopologyCases(context: () => ConformanceContext): void {
  it('learns of a new map at once, and takes no older one', async () => {
    const { db, router } = context()
    const before = router.snapshot()
    const begun = performance.now()
    router.replace((snapshot) => ({ ...snapshot, epoch: parseEpoch(snapshot.epoch + 1) }))
    await until('the new epoch is known', () => db.shardFor('a').epoch === before.epoch + 1)
    expect(performance.now() - begun).toBeLessThan(1_000)
    router.replace(() => before)
    router.replace(() => ({ ...before, epoch: parseEpoch(before.epoch + 2) }))
    await until('the newest epoch is known', () => db.shardFor('a').epoch === before.epoch + 2)
  })
}
