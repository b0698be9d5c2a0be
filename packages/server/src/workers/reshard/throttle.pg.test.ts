// A copy that its source cannot bear waits and says why, or is given up with its slot dropped; one that goes on tells
// how fast.
import { afterAll, beforeAll, expect, it } from 'vitest'
import { parseReshardJobDetail } from '../../engine/mod.ts'
import { startVersion, testVersions } from '../../engine/postgres/testing.ts'
import { makeFleet, type TestFleet } from './testing.ts'
import type { ThrottleBounds } from './throttle.ts'

const [version] = testVersions
if (version === undefined) throw new Error('there is always the embedded server')

let server: Awaited<ReturnType<typeof startVersion>>
beforeAll(async () => {
  server = await startVersion(version, { max_slot_wal_keep_size: '1GB' })
})
afterAll(() => server[Symbol.asyncDispose]())

const ddl = 'create table users (id bigint primary key, user_id text not null)'

async function split(throttleBounds: Partial<ThrottleBounds>): Promise<TestFleet> {
  const fleet = await makeFleet(server, { sources: ['a'], targets: ['b', 'c'], ddl, throttleBounds })
  await fleet.declare('public.users', { column: 'user_id', type: 'text' })
  await fleet.sql('a', `insert into users select i, 'u' || i from generate_series(1, 2000) i`)
  return fleet
}

async function slots(fleet: TestFleet): Promise<number> {
  const rows = await fleet.sql('a', 'select from pg_replication_slots where database = current_database()')
  return rows.length
}

it('waits while the slot holds back too much log, and obeys meanwhile', async () => {
  await using fleet = await split({ retainedWalBytesMax: -1 })
  const job = await fleet.submit({ kind: 'split' })
  const ending = fleet.finish(job)
  await expect
    .poll(async () => (await fleet.job(job)).detail.figures?.throttle ?? '')
    .toMatch(/^retained WAL: the slot holds back/)
  expect((await fleet.job(job)).record.state).toBe('copying')
  await fleet.catalog.jobs.update(job.id, (found) => ({
    ...found,
    detail: { ...parseReshardJobDetail(found.detail), order: 'cancel' },
  }))
  expect(await ending).toMatchObject({ status: 'cancelled' })
  expect(await slots(fleet)).toBe(0)
})

it('is given up, and its slot dropped, when the source can keep hardly any more log', async () => {
  await using fleet = await split({ walBytesLeftFloor: 2 ** 50 })
  const ended = await fleet.finish(await fleet.submit({ kind: 'split' }))
  expect(ended).toMatchObject({ status: 'failed', errorCode: 'reshard_refused' })
  expect(ended.errorMessage).toMatch(/may keep only \d+ MiB more of log/)
  expect(await slots(fleet)).toBe(0)
  expect(await fleet.sql('b', 'select count(*)::int as n from users')).toEqual([{ n: 0 }])
})

it('tells how fast it is and what its slot holds back', async () => {
  await using fleet = await split({})
  const ended = await fleet.finish(await fleet.submit({ kind: 'split' }))
  expect(ended).toMatchObject({ status: 'completed', errorMessage: null })
  const { detail } = await fleet.job(ended)
  expect(detail.figures).toMatchObject({ throttle: null, etaMs: 0, replicaLagBytes: 0 })
  expect(detail.figures?.rowsPerSecond).toBeGreaterThan(0)
  expect(detail.figures?.retainedWalBytes).toBeGreaterThan(0)
})
