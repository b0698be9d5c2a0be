// Shards as a direct client reads them from the topology.
import { parseJobId, type ShardRecord } from '@fleetshard/core'
import { topologyShardView } from '@fleetshard/core/contract'
import { testShard } from '@fleetshard/core/testing'
import { expect, it } from 'vitest'
import { shardOf } from './snapshot.ts'

const leftovers = { job: parseJobId('split-1') }

it.each<Partial<ShardRecord>>([{}, { status: 'inactive', statusReason: 'why' }, { leftovers }])(
  'is read from the topology as it was written there: %o',
  (fields) => {
    const shard = testShard('s0', fields)
    const sent: unknown = JSON.parse(JSON.stringify(topologyShardView(shard, true)))
    expect(shardOf(sent)).toEqual({ ...shard, sequenceBlock: expect.any(Number) as number })
  },
)
