// Splits, a merge, a move and a rebalance of whole clusters under writers: no acknowledged write is lost, doubled or in the wrong
// place, and nobody is refused anything that may not be tried again.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ReshardJob, Shard, ShardList } from '@fleetshard/core/contract'
import { Ledger } from '../faults/ledger/ledger.ts'
import { ledgerDdl, readLedger, writeLedger, type Execute } from '../faults/ledger/writers.ts'
import { startCluster, type Cluster } from './harness/cluster.ts'
import { eventsOf, type LogEvent } from './harness/events.ts'
import type { Executed } from './harness/http.ts'
import { keyOn, ownerOf, shardMapOf } from './harness/shard-map.ts'
import { until } from './harness/until.ts'

const writers = 8
const keysPerWriter = 150
/** Of a test with two jobs, on a machine that others use as well. */
const twoJobsMsMax = 400_000

let cluster: Cluster
const ledger = new Ledger()
const execute: Execute = (body) => cluster.execute(body)

beforeAll(async () => {
  cluster = await startCluster({ up: ['--replicas', '0', '--shards', '2'] })
  const answer = await cluster.manager('POST', '/api/v1/keyspaces/default/tables', {
    name: 'ledger',
    key_column: 'key',
    ddl: ledgerDdl,
    wait_ms: 60_000,
  })
  expect(answer.status).toBe(201)
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

async function jobOf(id: string): Promise<ReshardJob> {
  const { status, body } = await cluster.manager<ReshardJob>('GET', `/api/v1/reshard/jobs/${id}`)
  expect(status).toBe(200)
  return body
}

async function ended(id: string): Promise<ReshardJob> {
  await until('the job has ended', async () =>
    ['completed', 'failed', 'cancelled'].includes((await jobOf(id)).status),
  )
  return jobOf(id)
}

async function shards(): Promise<readonly Shard[]> {
  return (await cluster.manager<ShardList>('GET', '/api/v1/shards')).body.shards
}

/** Writers go on while `work` runs, and for a while after it; then the account is made. */
async function underWriters(name: string, work: () => Promise<void>): Promise<number> {
  const stop = new AbortController()
  const options = { writers, keysPerWriter, name, signal: stop.signal }
  const writing = writeLedger(ledger, execute, options)
  writing.catch(() => undefined) // met below
  const before = ledger.acknowledged
  await until('writers are at work', () => ledger.acknowledged > before + 200)
  await work()
  const after = ledger.acknowledged
  await until('writers go on', () => ledger.acknowledged > after + 200)
  stop.abort()
  const { writesMs } = await writing
  const map = await shardMapOf(cluster)
  const keys = new Map(map.owners.map(({ id }) => [id as string, keyOn(map, id)]))
  const rows = await readLedger(execute, keys)
  expect(ledger.account(rows, (key) => ownerOf(map, key))).toMatchObject({
    lost: [],
    duplicated: [],
    misplaced: [],
    stale: [],
    holds: true,
  })
  return Math.max(...writesMs)
}

/** Writes that tell the version that they have made, each under an idempotency key of its own. */
async function writeOnce(prefix: string): Promise<readonly Executed[]> {
  const answers: Executed[] = []
  for (let i = 0; i < 20; i += 1) {
    const key = `${prefix}-${String(i)}`
    const { status, body } = await cluster.execute({
      shard_key: key,
      query: `INSERT INTO ledger (key, version) VALUES ($1, 1)
              ON CONFLICT (key) DO UPDATE SET version = ledger.version + 1 RETURNING version`,
      params: [key],
      options: { idempotency_key: `key-${key}` },
    })
    expect(status).toBe(200)
    answers.push(body)
    if (!body.replayed) ledger.note(key, ledger.next(key), 'acknowledged')
  }
  return answers
}

/** The log tells of each state of the job once, in their order, and of the keys' new shards in between. */
function toldOf(job: string, shardMoved: LogEvent): void {
  const states = eventsOf(cluster, 'job_state').filter((line) => line['job'] === job)
  const names = states.map(({ state }) => state)
  expect(new Set(names).size).toBe(names.length)
  expect(names.at(-1)).toBe('completed')
  const moved = eventsOf(cluster, 'shard_moved').filter((line) => line['job'] === job)
  expect(moved).toMatchObject([shardMoved])
  const [at] = moved.map(({ time }) => Date.parse(String(time)))
  expect(at).toBeGreaterThanOrEqual(Date.parse(String(states[0]?.['time'])))
  expect(at).toBeLessThanOrEqual(Date.parse(String(states.at(-1)?.['time'])))
}

test('a split into embedded shards under writers loses, doubles and misplaces nothing', async () => {
  const [source] = await shards()
  const once = await writeOnce('once')
  let jobId = ''
  const longestMs = await underWriters('split', async () => {
    const { status, body, headers } = await cluster.manager<ReshardJob>('POST', '/api/v1/reshard/split', {
      source_shard_id: source?.id,
      target_shards: [
        { name: 'left', nodes: 'embedded' },
        { name: 'right', nodes: 'embedded' },
      ],
    })
    expect(status).toBe(202)
    expect(headers.get('location')).toBe(`/api/v1/reshard/jobs/${body.id}`)
    jobId = body.id
    const job = await ended(jobId)
    expect(job).toMatchObject({ status: 'completed', phase: 'completed', progress: 1, error_message: null })
    expect(job.verify?.differences).toEqual([])
    expect(job.hold_ms).toBeGreaterThan(0)
  })
  expect(longestMs).toBeLessThan(10_000)
  const now = await shards()
  expect(now.find(({ id }) => id === source?.id)).toMatchObject({ status: 'inactive', ranges: [] })
  const parts = now.filter(({ name }) => name === 'left' || name === 'right')
  expect(parts.map(({ status }) => status)).toEqual(['active', 'active'])
  toldOf(jobId, {
    sources: [source?.id],
    targets: parts.map(({ id }) => id),
    epoch: expect.any(Number) as number,
    hold_ms: expect.any(Number) as number,
  })
  // Sent again, nothing is done again.
  const again = await writeOnce('once')
  expect(again.map(({ replayed }) => replayed)).toEqual(again.map(() => true))
  expect(again.map(({ rows }) => rows)).toEqual(once.map(({ rows }) => rows))
})

test('a merge of two shards into a new one, by the command line', async () => {
  const sources = (await shards()).filter(({ name }) => name === 'left' || name === 'right')
  await underWriters('merge', async () => {
    const words = sources.flatMap(({ id }) => ['--from', id])
    const { code, out, err } = await cluster.cli('reshard', 'merge', ...words, '--to', 'whole', '--embedded')
    expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' })
    expect(out).toContain('completed')
  })
  expect((await shards()).find(({ name }) => name === 'whole')).toMatchObject({ status: 'active' })
  for (const { id } of sources) expect((await cluster.cli('shard', 'delete', id, '--yes')).code).toBe(0)
})

test(
  'a move to other servers, after it was planned, paused, resumed and cancelled',
  { timeout: twoJobsMsMax },
  async () => {
    const source = (await shards()).find(({ name }) => name === 'whole')
    const words = ['reshard', 'move', source?.id ?? '', '--to', 'moved', '--embedded']
    const planned = await cluster.cli(...words, '--dry-run')
    expect(planned.out).toContain('would get 50')
    expect(planned.out).toMatch(/about \d+ rows and [1-9]\d* bytes, of public\.ledger/)
    await underWriters('move', async () => {
      const begun = await cluster.cli(...words, '--detach', '-o', 'json')
      const { id } = JSON.parse(begun.out) as ReshardJob
      const paused = await cluster.manager('POST', `/api/v1/reshard/jobs/${id}/pause`)
      // Quick as it is, it may have come to its end before.
      if (paused.status === 202) {
        await until('it is paused or over', async () =>
          ['paused', 'completed'].includes((await jobOf(id)).status),
        )
        if ((await jobOf(id)).status === 'paused') {
          const second = await cluster.manager('POST', '/api/v1/reshard/move', {
            source_shard_id: source?.id,
            target_shard: { name: 'elsewhere', nodes: 'embedded' },
          })
          expect(second.body).toMatchObject({ code: 'conflict' })
          expect((await cluster.cli('reshard', 'cancel', id)).code).toBe(0)
          expect(await ended(id)).toMatchObject({ status: 'cancelled' })
          const again = await cluster.cli('reshard', 'move', source?.id ?? '', '--to', 'moved')
          expect({ code: again.code, err: again.code === 0 ? '' : again.err }).toEqual({ code: 0, err: '' })
        }
      }
    })
    expect((await shards()).find(({ name }) => name === 'moved')).toMatchObject({ status: 'active' })
  },
)

test('a move is taken back under writers, with what was written since its cutover', async () => {
  const source = (await shards()).find(({ name }) => name === 'moved')
  await underWriters('back', async () => {
    const words = ['reshard', 'move', source?.id ?? '', '--to', 'for-now', '--embedded', '-o', 'json']
    const moved = await cluster.cli(...words, '--reversible-seconds', '600')
    expect({ code: moved.code, err: moved.code === 0 ? '' : moved.err }).toEqual({ code: 0, err: '' })
    const job = JSON.parse(moved.out) as ReshardJob
    expect(job).toMatchObject({ phase: 'reversible', not_reversible_because: null })
    expect(Date.parse(job.reversible_until ?? '')).toBeGreaterThan(Date.parse(job.started_at ?? ''))
    expect((await shards()).find(({ name }) => name === 'for-now')).toMatchObject({ status: 'active' })
    const cancelled = await cluster.manager('POST', `/api/v1/reshard/jobs/${job.id}/cancel`)
    expect(cancelled.body).toMatchObject({ code: 'conflict' })
    const back = await cluster.cli('reshard', 'reverse', job.id)
    expect({ code: back.code, err: back.code === 0 ? '' : back.err }).toEqual({ code: 0, err: '' })
    expect(back.out).toContain('rolled_back')
  })
  expect((await shards()).find(({ id }) => id === source?.id)).toMatchObject({ status: 'active' })
  const left = (await shards()).find(({ name }) => name === 'for-now')
  expect(left).toMatchObject({ status: 'inactive', ranges: [] })
  expect((await cluster.cli('shard', 'delete', left?.id ?? '', '--yes')).code).toBe(0)
  expect((await cluster.cli('vdiff')).code).toBe(0)
})

test(
  'a part of a shard moves away, then a new shard gets its share of all',
  { timeout: twoJobsMsMax },
  async () => {
    const source = (await shards()).find(({ name }) => name === 'moved')
    await underWriters('part', async () => {
      const { status, body } = await cluster.manager<ReshardJob>('POST', '/api/v1/reshard/split', {
        source_shard_id: source?.id,
        target_shards: [{ name: 'second', nodes: 'embedded' }],
        keep_source: true,
      })
      expect(status).toBe(202)
      expect(await ended(body.id)).toMatchObject({ status: 'completed', error_message: null })
    })
    expect((await shards()).find(({ id }) => id === source?.id)).toMatchObject({ status: 'active' })
    await underWriters('share', async () => {
      const words = ['reshard', 'rebalance', '--to', 'third', '--embedded']
      const { code, out, err } = await cluster.cli(...words)
      expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' })
      expect(out).toContain('completed')
    })
    const owners = (await shards()).filter(({ ranges = [] }) => ranges.length > 0)
    expect(owners.map(({ name, status }) => `${name} ${status}`).toSorted()).toEqual([
      'moved active',
      'second active',
      'shard-02 active',
      'third active',
    ])
    expect(owners.every((shard) => shard.leftovers_job_id === undefined)).toBe(true)
  },
)

test('what cannot be moved is refused with the remedy, and nothing is made', async () => {
  const before = await shards()
  const [source] = before.filter(({ status }) => status === 'active')
  const target = { name: 'never', nodes: 'embedded' }
  const split = (body: object) => cluster.manager('POST', '/api/v1/reshard/split', body)
  const cases = [
    {
      body: { source_shard_id: 'nobody', target_shards: [target, { ...target, name: 'b' }] },
      code: 'not_found',
    },
    { body: { source_shard_id: source?.id, target_shards: [target] }, code: 'invalid_request' },
    {
      // What keeps a part cannot be brought back: that is to be known before.
      body: {
        source_shard_id: source?.id,
        target_shards: [target],
        keep_source: true,
        reversible_seconds: 60,
      },
      code: 'reshard_refused',
    },
    { body: { source_shard_id: source?.id, target_shards: [target, target] }, code: 'invalid_request' },
    { body: { source_shard_id: source?.id, target_shards: [], keep_source: true }, code: 'invalid_request' },
    {
      body: { source_shard_id: source?.id, target_shards: [{ name: source?.name }, target] },
      code: 'reshard_refused',
    },
    {
      body: { source_shard_id: source?.id, target_shards: [{ name: 'unknown' }, target] },
      code: 'not_found',
    },
    {
      body: {
        source_shard_id: source?.id,
        target_shards: [target, { name: 'x', primary_endpoint: 'postgres://a:b@127.0.0.1:1/x' }],
      },
      code: 'node_check_failed',
    },
  ]
  for (const { body, code } of cases) {
    const answer = await split(body)
    expect({ code: answer.body.code, hasHint: answer.body.hint !== undefined }).toEqual({
      code,
      hasHint: true,
    })
  }
  expect((await shards()).map(({ id }) => id)).toEqual(before.map(({ id }) => id))
})
