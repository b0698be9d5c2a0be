// Snapshots and statements for tests of planning and execution.
import {
  addShard,
  buildRing,
  buildShardMap,
  firstShard,
  parseKeyspaceName,
  parseShardId,
  type KeyspaceSnapshot,
  type ShardMap,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import * as records from '@fleetshard/core/testing'

const keyspace = parseKeyspaceName('app')

/** A table that is sharded by `user_id`, if nothing else is said. */
export const testTable = (name: string, fields: Partial<TableRecord> = {}): TableRecord =>
  records.testTable(name, { keyspace, keyColumn: 'user_id', ...fields })

/** A keyspace with that many active shards, named `s0`, `s1`, …, without nodes. */
export function testSnapshot(
  shardCount: number,
  tables: readonly TableRecord[],
  vnodeCount = 16,
): KeyspaceSnapshot {
  const shards: ShardRecord[] = []
  for (let index = 0; index < shardCount; index += 1) {
    const id = parseShardId(`s${String(index)}`)
    const change =
      index === 0 ? firstShard({ id, vnodeCount }) : addShard(buildRing(shards), { id, vnodeCount })
    const vnodes = change.vnodes.get(id) ?? ''
    shards.push(records.testShard(id, { keyspace, vnodes, sequenceBlock: index }))
  }
  return records.testSnapshot({
    keyspace: { name: keyspace, nextSequenceBlock: shardCount },
    epoch: 7,
    shards,
    tables,
  })
}

/** The map of such a keyspace. */
export const testMap = (shardCount: number, tables: readonly TableRecord[]): ShardMap =>
  buildShardMap(testSnapshot(shardCount, tables))
