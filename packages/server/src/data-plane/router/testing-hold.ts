// Maps of a cutover, for tests: a shard that is held, and the ring in other hands.
import { parseEpoch, parseJobId, type KeyspaceSnapshot, type ShardId } from '@fleetshard/core'

const next = ({ epoch }: KeyspaceSnapshot) => parseEpoch(epoch + 1)

/** One shard has the whole ring, and none is held. */
export function ownedBy(snapshot: KeyspaceSnapshot, owner: ShardId): KeyspaceSnapshot {
  const all = snapshot.shards.find(({ vnodes }) => vnodes !== '')?.vnodes ?? ''
  const shards = snapshot.shards.map(({ hold: _hold, ...shard }) => ({
    ...shard,
    vnodes: shard.id === owner ? all : '',
  }))
  return { ...snapshot, epoch: next(snapshot), shards }
}

/** The shard is held. */
export const withHold = (snapshot: KeyspaceSnapshot, held: ShardId): KeyspaceSnapshot => ({
  ...snapshot,
  epoch: next(snapshot),
  shards: snapshot.shards.map((shard) =>
    shard.id === held ? { ...shard, hold: { job: parseJobId('move-1'), attempt: 1 } } : shard,
  ),
})
