import {
  parseEpoch,
  parseJobId,
  parseKeyspaceName,
  parseRouterId,
  type JobRecord,
  type RouterRecord,
} from '@fleetshard/core'
import { testSnapshot } from '@fleetshard/routing/testing'
import { expect, test } from 'vitest'
import type { CatalogState } from '../../catalog/mod.ts'
import { newReshardJobDetail } from '../../engine/mod.ts'
import { createMetrics } from '../../runtime/mod.ts'
import type { Fleet } from './fleet.ts'
import { createManagerMetrics } from './metrics.ts'
import { createRings } from './rings.ts'

const snapshot = { ...testSnapshot(2, []), epoch: parseEpoch(7) }
const name = parseKeyspaceName(snapshot.keyspace.name)

const job = (id: string, change: Partial<JobRecord>): JobRecord => ({
  id: parseJobId(id),
  type: 'reshard',
  keyspace: name,
  status: 'running',
  state: 'copying',
  progress: 0.25,
  detail: {
    ...newReshardJobDetail({ kind: 'move', sources: [], targets: [], splitPoint: null }),
    sources: [snapshot.shards[0]!.id],
    targets: [{ shard: snapshot.shards[1]!.id, vnodeCount: 1 }],
    rowsCopied: 12,
    figures: {
      at: '2026-01-01T00:00:00Z',
      lagMs: 1,
      lagBytes: 345,
      retainedWalBytes: 0,
      replicaLagBytes: 0,
      rowsPerSecond: 1,
      bytesPerSecond: 1,
      etaMs: null,
      throttle: 'the source is busy',
    },
  },
  errorCode: null,
  errorMessage: null,
  version: 1,
  createdAt: '',
  startedAt: null,
  completedAt: null,
  ...change,
})

const router = (id: string, change: Partial<RouterRecord>): RouterRecord => ({
  id: parseRouterId(id),
  host: 'r',
  httpPort: 1,
  pid: 1,
  version: '0',
  region: null,
  zone: null,
  ackedEpochs: { [name]: parseEpoch(7) },
  startedAt: '',
  ...change,
})

function metricsOf(jobs: readonly JobRecord[], routers: readonly RouterRecord[]): Promise<string> {
  const state = {
    keyspaces: new Map([[name, snapshot]]),
    jobs: new Map(jobs.map((record) => [record.id, { record }])),
    routers: new Map(routers.map((record) => [record.id, record])),
  } as unknown as CatalogState
  const fleet = { isLoaded: () => true, state: () => state, ageMs: () => 1_500 } as unknown as Fleet
  const metrics = createMetrics(false)
  createManagerMetrics(metrics, fleet, createRings())
  return metrics.text()
}

test('tells of open jobs how far they are, and of all of them their number', async () => {
  const text = await metricsOf(
    [job('j-1', {}), job('j-2', { status: 'completed' }), job('j-3', { status: 'completed' })],
    [],
  )
  expect(text).toContain('fleetshard_manager_jobs{type="reshard",status="running"} 1\n')
  expect(text).toContain('fleetshard_manager_jobs{type="reshard",status="completed"} 2\n')
  expect(text).toContain('fleetshard_job_progress_ratio{type="reshard",job="j-1"} 0.25\n')
  expect(text).toContain('fleetshard_job_rows_copied{job="j-1"} 12\n')
  expect(text).toContain('fleetshard_job_lag_bytes{job="j-1"} 345\n')
  expect(text).toContain('fleetshard_job_throttled{job="j-1"} 1\n')
  expect(text).not.toContain('job="j-2"')
})

test('a job that cannot be read does not hide everything else', async () => {
  const text = await metricsOf([job('j-1', {}), job('j-broken', { detail: { kind: 'unheard of' } })], [])
  expect(text).toContain('fleetshard_job_rows_copied{job="j-1"} 12\n')
  expect(text).toContain('fleetshard_job_progress_ratio{type="reshard",job="j-broken"} 0.25\n')
  expect(text).not.toContain('fleetshard_job_rows_copied{job="j-broken"}')
})

test('counts routers, and those that are behind the epoch of the catalog', async () => {
  const old = { ackedEpochs: { [name]: parseEpoch(6) } }
  const text = await metricsOf(
    [],
    [
      router('r-1', {}),
      router('r-2', old),
      router('r-3', { ackedEpochs: {} }),
      router('c-1', { kind: 'direct', ackedEpochs: {} }),
      router('c-2', { kind: 'direct', ...old }),
    ],
  )
  expect(text).toContain('fleetshard_manager_routers{kind="router"} 3\n')
  expect(text).toContain('fleetshard_manager_routers{kind="direct"} 2\n')
  expect(text).toContain(`fleetshard_manager_routers_behind{keyspace="${name}"} 3\n`)
})

test('tells what part of the ring each shard owns', async () => {
  const text = await metricsOf([], [])
  const parts = [...text.matchAll(/^fleetshard_manager_shard_keys_ratio\{.*\} ([\d.]+)$/gm)].map(([, part]) =>
    Number(part),
  )
  expect(parts).toHaveLength(2)
  expect(parts.reduce((sum, part) => sum + part, 0)).toBeCloseTo(1, 12)
  expect(text).toContain('fleetshard_manager_catalog_age_seconds 1.5\n')
})
