import { FleetError } from '@fleetshard/core'
import { describe, expect, test } from 'vitest'
import { manualClock } from '../runtime/testing/manual-clock.ts'
import { call } from './testing/call.ts'
import { aJob, aKeyspace, aShard, aTable } from './testing/records.ts'

describe('deleting', () => {
  const answers = { 'GET /api/v1/shards/s-1': () => aShard(), 'DELETE /api/v1/shards/s-1': () => undefined }

  test('without a terminal wants --yes', async () => {
    const outcome = await call(['shard', 'delete', 's-1'], { answers })
    expect(outcome).toMatchObject({ code: 2, err: expect.stringContaining('add --yes') as string })
    expect(outcome.seen.map(({ method }) => method)).toEqual(['GET'])
  })

  test('with --yes deletes the version that was read, and sends the reason', async () => {
    const { code, seen } = await call(['shard', 'delete', 's-1', '--yes', '--reason', 'gone & forgotten'], {
      answers,
    })
    expect(code).toBe(0)
    expect(seen[1]?.method).toBe('DELETE')
    expect(seen[1]?.headers.get('if-match')).toBe('"3"')
    expect(decodeURIComponent(seen[1]?.headers.get('x-fleetshard-reason') ?? '')).toBe('gone & forgotten')
  })

  test('asks for the name on a terminal', async () => {
    expect((await call(['shard', 'delete', 's-1'], { answers, typed: 's-1' })).code).toBe(0)
    const refused = await call(['shard', 'delete', 's-1'], { answers, typed: 'yes' })
    expect([refused.code, refused.seen.length]).toEqual([130, 1])
  })

  test('with --dry-run only tells', async () => {
    const { code, out, seen } = await call(['shard', 'delete', 's-1', '--dry-run'], { answers })
    expect([code, seen.length]).toEqual([0, 1])
    expect(out).toContain('DELETE /api/v1/shards/s-1')
    expect(out).toContain('owns 50.0% of the ring')
  })
})

describe('who leads a shard', () => {
  const failover = (change: object) => ({
    id: 'f-1',
    type: 'switchover',
    shard_id: 's-1',
    status: 'running',
    phase: 'verifying',
    term: 2,
    from: 'a',
    to: 'b',
    by: 'operator',
    forced: false,
    reason: 'maintenance',
    seen: [],
    proof: { kind: 'death', text: 'stopped' },
    candidates: [
      {
        node_id: 'b',
        timeline: 1,
        position: '0/1',
        revoked: true,
        eligible: true,
        verdict: 'chosen: it has the most',
      },
    ],
    loss_bytes_max: 0,
    verified: null,
    rejoined_by: null,
    waits_for: null,
    steps: [{ state: 'fencing', at: '', ms: 12 }],
    created_at: '',
    completed_at: null,
    ...change,
  })
  const answersOf = (change: object) => ({
    'POST /api/v1/shards/s-1/promote': () => failover({ phase: 'requested' }),
    'GET /api/v1/shards/s-1/failovers': () => ({
      shard_id: 's-1',
      term: 2,
      primary: 'b',
      durability: 'protection',
      quorum: { members: ['a'], required: 1, changing: false, degraded_since: null },
      limits: ['a dies with its machine'],
      failovers: [failover(change)],
    }),
  })

  test('changes by a switchover, which is followed until the new one leads', async () => {
    const words = ['switchover', 's-1', '--to', 'b', '--reason', 'maintenance']
    const { code, seen, out } = await call(words, { answers: answersOf({}) })
    expect(code).toBe(0)
    expect(seen[0]?.body).toEqual({ node_id: 'b', reason: 'maintenance' })
    expect(out).toContain('chosen: it has the most')
  })

  test('stays the same when it cannot be done, and the reason is told', async () => {
    const answers = answersOf({ status: 'failed', phase: 'failed', waits_for: 'b does not stream' })
    const { code, err, seen } = await call(['shard', 'promote', 's-1', '--force', '--allow-data-loss'], {
      answers,
    })
    expect(seen[0]?.body).toEqual({ force: true, allow_data_loss: true })
    expect([code, err.includes('a leads on: b does not stream')]).toEqual([1, true])
  })

  test('is explained', async () => {
    const { code, out, err } = await call(['failover', 'explain', 's-1'], { answers: answersOf({}) })
    expect(code).toBe(0)
    expect(err).toContain('b leads in term 2; protection: commits wait for 1 of a')
    expect(err).toContain('a dies with its machine')
    expect(out).toContain('fencing 12 ms')
  })
})

describe('shard create', () => {
  const answers = { 'POST /api/v1/shards': () => aShard(), 'GET /api/v1/shards': () => ({ shards: [] }) }

  test('sends what was asked for', async () => {
    const words = ['shard', 'create', 'shard-01', '--embedded', '--replicas', '2', '--vnodes', '64']
    const { seen } = await call([...words, '--agent', 'db1'], { answers })
    expect(seen[0]?.body).toEqual({
      name: 'shard-01',
      keyspace: 'default',
      nodes: 'embedded',
      replica_count: 2,
      agent: 'db1',
      vnode_count: 64,
    })
  })

  test('takes the password from PGPASSWORD, and does not show it in a plan', async () => {
    const env = { PGPASSWORD: 'p@ss' }
    const words = ['shard', 'create', 'a', '--primary', 'postgres://app@db:5432/app']
    expect((await call(words, { answers, env })).seen[0]?.body).toMatchObject({
      primary_endpoint: 'postgres://app:p%40ss@db:5432/app',
    })
    const { out } = await call([...words, '--dry-run'], { answers, env })
    expect(out).toContain('postgres://app:***@db:5432/app')
    expect(out).not.toContain('p%40ss')
  })

  test.each([
    [['shard', 'create', 'a'], 'either --primary or --embedded'],
    [['shard', 'create', 'a', '--embedded', '--primary', 'postgres://h/d'], 'either --primary or --embedded'],
    [['shard', 'create', 'a', '--primary', 'mysql://h/d'], 'not a postgres:// URL'],
    [
      ['shard', 'create', 'a', '--embedded', '--replicas', '9'],
      '--replicas must be a whole number from 0 to 5',
    ],
    [['shard', 'create', 'a', '--embedded', '--replica', 'postgres://h/d'], '--replica goes with --primary'],
  ])('%j is refused', async (words, part) => {
    const outcome = await call(words, { answers })
    expect(outcome).toMatchObject({ code: 2, seen: [], err: expect.stringContaining(part) as string })
  })
})

test('shard update sends only what changes, for the version that was read', async () => {
  const answers = {
    'GET /api/v1/shards/s-1': () => aShard(),
    'PATCH /api/v1/shards/s-1': () => aShard({ status: 'readonly' }),
  }
  const { code, seen } = await call(['shard', 'update', 's-1', '--status', 'readonly', '--no-replicas'], {
    answers,
  })
  expect(code).toBe(0)
  expect(seen[1]?.body).toEqual({ status: 'readonly', replicas: [] })
  expect(seen[1]?.headers.get('if-match')).toBe('"3"')
})

describe('status', () => {
  const ready = {
    status: 'ready',
    id: 'm',
    leader: true,
    leader_url: null,
    catalog: { reachable: true, age_ms: 1 },
  }
  const answers = {
    'GET /ready': (request: { readonly host: string }) =>
      request.host.endsWith('8081') ? ready : { status: 'ready' },
    'GET /api/v1/keyspaces': () => ({ keyspaces: [aKeyspace()] }),
    'GET /api/v1/shards': () => ({ shards: [aShard()] }),
  }

  test('shows servers, keyspaces and shards, and is ok when all serve', async () => {
    const { code, out } = await call(['status'], { answers })
    expect(code).toBe(0)
    expect(out).toMatch(/router +ready +http:\/\/127.0.0.1:8080\nmanager +ready +http:\/\/127.0.0.1:8081\n/)
    expect(out).toContain('shard-01')
  })

  test('leaves tokens out of the JSON', async () => {
    const { out } = await call(['status', '-o', 'json'], { answers })
    const parsed = JSON.parse(out) as { readonly healthy: boolean; readonly shards: readonly object[] }
    expect([parsed.healthy, parsed.shards.length]).toEqual([true, 1])
    expect(out).not.toContain('9223372036854775807",')
  })

  test('is unhealthy when a shard with ranges does not serve', async () => {
    const shards = [aShard({ status: 'inactive' })]
    const outcome = await call(['status'], {
      answers: { ...answers, 'GET /api/v1/shards': () => ({ shards }) },
    })
    expect(outcome.code).toBe(7)
  })

  test('is unhealthy when nothing answers, and says how to start a cluster', async () => {
    const { code, out, err } = await call(['status'])
    expect([code, err]).toEqual([7, 'hint: fleetshard up starts a cluster on this machine\n'])
    expect(out).toContain('unreachable')
  })

  test('is unhealthy when the catalog does not answer', async () => {
    const stale = { ...ready, status: 'stale' }
    const { code, out } = await call(['status'], { answers: { ...answers, 'GET /ready': () => stale } })
    expect(code).toBe(7)
    expect(out).toContain('the catalog does not answer')
  })
})

describe('wait', () => {
  test('ends when the goal is reached', async () => {
    const answers = { 'GET /api/v1/shards/s-1': () => aShard() }
    expect((await call(['wait', '--for', 'shard/s-1'], { answers })).code).toBe(0)
  })

  test('looks again until it is, and through failures that pass', async () => {
    const clock = manualClock()
    let looks = 0
    const answer = () => {
      looks += 1
      if (looks === 1) return new FleetError('catalog_unavailable', 'no catalog')
      return looks < 4 ? aJob() : aJob({ status: 'completed' })
    }
    const waiting = call(['wait', '--for=job/j-1'], { answers: { 'GET /api/v1/jobs/j-1': answer }, clock })
    const pump = setInterval(() => clock.advance(500), 1)
    const outcome = await waiting.finally(() => clearInterval(pump))
    expect([outcome.code, looks]).toEqual([0, 4])
  })

  test('fails when the job failed', async () => {
    const answers = { 'GET /api/v1/jobs/j-1': () => aJob({ status: 'failed', error_message: 'disk full' }) }
    const outcome = await call(['wait', '--for=job/j-1'], { answers })
    expect(outcome).toMatchObject({ code: 1, err: 'job j-1 failed: disk full\n' })
  })

  test('is a timeout when the time is over', async () => {
    const answers = { 'GET /api/v1/jobs/j-1': () => aJob() }
    const outcome = await call(['wait', '--for=job/j-1', '--timeout', '0'], { answers })
    expect(outcome).toMatchObject({
      code: 6,
      err: expect.stringContaining('job j-1 is running (applying)') as string,
    })
  })

  test('is interrupted by Ctrl-C', async () => {
    const stop = new AbortController()
    const answers = {
      'GET /api/v1/jobs/j-1': () => {
        stop.abort(new FleetError('shutting_down', 'stopped by SIGINT'))
        return aJob()
      },
    }
    expect((await call(['wait', '--for=job/j-1'], { answers, stop })).code).toBe(130)
  })

  test('refuses goals there are none of', async () => {
    for (const goal of ['x', 'job', 'job/', 'job/1=active', 'shard/1=gone', 'ready/1']) {
      expect([goal, (await call(['wait', '--for', goal])).code]).toEqual([goal, 2])
    }
  })
})

describe('tables', () => {
  const answers = {
    'POST /api/v1/keyspaces/default/tables': () => ({
      tables: [aTable()],
      warnings: ['mind the gap'],
      job: null,
    }),
    'GET /api/v1/keyspaces/default/tables': () => ({ tables: [aTable()] }),
  }
  const schema = 'create table users (user_id text primary key);'

  test('are created from a schema', async () => {
    const { code, err, seen } = await call(['table', 'create', '-f', '-', '--key', 'user_id'], {
      answers,
      stdin: schema,
    })
    expect([code, err]).toEqual([0, 'warning: mind the gap\n'])
    expect(seen[0]?.body).toMatchObject({
      ddl: schema,
      tables: [{ name: 'users', kind: 'sharded', key_column: 'user_id' }],
    })
  })

  test('are waited for when they take long', async () => {
    const pending = { tables: [], warnings: [], job: aJob() }
    const more = {
      ...answers,
      'POST /api/v1/keyspaces/default/tables': () => pending,
      'GET /api/v1/jobs/j-1': () => aJob({ status: 'completed', progress: 1 }),
    }
    const { code, out } = await call(['table', 'create', '-f', '-', '--key', 'user_id'], {
      answers: more,
      stdin: schema,
    })
    expect(code).toBe(0)
    expect(out).toContain('public.users')
  })

  test('fail with what the job failed with', async () => {
    const failed = {
      'POST /api/v1/keyspaces/default/tables': () => ({ tables: [], warnings: [], job: aJob() }),
      'GET /api/v1/jobs/j-1': () => aJob({ status: 'failed', error_message: 'shard s-2: syntax error' }),
    }
    const outcome = await call(['table', 'create', '-f', '-', '--key', 'user_id'], {
      answers: failed,
      stdin: schema,
    })
    expect(outcome).toMatchObject({
      code: 1,
      err: expect.stringContaining('error: shard s-2: syntax error') as string,
    })
  })

  test('are declared by one kind', async () => {
    const { seen } = await call(['table', 'declare', 'users', '--key', 'user_id'], { answers })
    expect(seen[0]?.body).toEqual({ name: 'users', kind: 'sharded', key_column: 'user_id' })
    expect((await call(['table', 'declare', 'users'], { answers })).code).toBe(2)
    expect((await call(['table', 'declare', 'users', '--key', 'a', '--global'], { answers })).code).toBe(2)
  })
})
