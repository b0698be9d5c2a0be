import { parseShardId, type ShardRecord } from '@fleetshard/core'
import { expect, test } from 'vitest'
import { createMetrics } from '../../runtime/mod.ts'
import { ShardSeries } from './shard-series.ts'
import { testSnapshot } from '@fleetshard/routing/testing'

const [first, second] = testSnapshot(2, []).shards as [ShardRecord, ShardRecord]

async function samples(metrics: ReturnType<typeof createMetrics>): Promise<string[]> {
  return (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
}

test('counts statements, rows, times and errors of each shard', async () => {
  const metrics = createMetrics(false)
  const series = new ShardSeries(metrics)
  series.ran(first, 'read')
  series.ran(first, 'locking')
  series.ran(first, 'ddl')
  series.answered(first, 3, 7, '')
  series.answered(first, 300, 0, '23505')
  series.answered(first, 300, 0, '23503')
  series.waited(first, 60)
  const labels = `keyspace="${first.keyspace}",shard="${first.id}"`
  const text = await metrics.text()
  expect(text).toContain(`shard_statements_total{${labels},kind="read"} 1\n`)
  expect(text).toContain(`shard_statements_total{${labels},kind="write"} 1\n`)
  expect(text).toContain(`shard_statements_total{${labels},kind="other"} 1\n`)
  expect(text).toContain(`shard_rows_total{${labels}} 7\n`)
  expect(text).toContain(`shard_errors_total{${labels},class="23"} 2\n`)
  expect(text).toContain(`shard_answer_duration_seconds_bucket{${labels},le="0.005"} 1\n`)
  expect(text).toContain(`shard_answer_duration_seconds_count{${labels}} 3\n`)
  expect(text).toContain(`pool_wait_duration_seconds_bucket{${labels},le="0.1"} 1\n`)
})

test('a new record of a shard goes on where the one before was', async () => {
  const metrics = createMetrics(false)
  const series = new ShardSeries(metrics)
  series.ran(first, 'read')
  series.ran({ ...first, version: first.version + 1 }, 'read')
  expect(await metrics.text()).toContain('kind="read"} 2\n')
})

test('a shard that is gone leaves no series', async () => {
  const metrics = createMetrics(false)
  const series = new ShardSeries(metrics)
  series.ran(first, 'read')
  series.answered(first, 1, 1, '40001')
  series.waited(first, 1)
  series.ran(second, 'write')
  expect((await samples(metrics)).some((line) => line.includes(`"${first.id}"`))).toBe(true)
  series.forget({ ...first, id: parseShardId(first.id) })
  const left = await samples(metrics)
  expect(left.filter((line) => line.includes(`"${first.id}"`))).toEqual([])
  expect(left.some((line) => line.includes(`"${second.id}"`))).toBe(true)
})
