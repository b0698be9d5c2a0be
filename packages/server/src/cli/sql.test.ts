// `sql` and `route`: what is sent, and how rows, refusals and traces are printed.
import type { RouteResponse } from '@fleetshard/core/contract'
import { FleetError } from '@fleetshard/core'
import { describe, expect, test } from 'vitest'
import { call, type Seen } from './testing/call.ts'

describe('sql', () => {
  const result = {
    shard_id: 's-1',
    rows: [
      ['user-1', '7', null],
      ['user\u001b-2', '10', '{"a":1}'],
    ],
    row_count: 2,
    latency_ms: 1.26,
    columns: [
      { name: 'id', type: 'text' },
      { name: 'n', type: 'int8' },
      { name: 'doc', type: 'jsonb' },
    ],
    node: 'n-1',
    epoch: 2,
  }
  const answers = { 'POST /v1/execute': () => result }

  test('prints rows as a table, the rest on standard error', async () => {
    const words = [
      'sql',
      'select 1',
      '--key',
      'user-1',
      '--param',
      'x',
      '--param',
      'null',
      '--consistency',
      'eventual',
    ]
    const { out, err, seen } = await call(words, { answers })
    expect(out).toBe('id           n  doc\nuser-1       7  NULL\nuser\\x1b-2  10  {"a":1}\n')
    expect(err).toBe('(2 rows from n-1 of shard s-1, 1.3 ms)\n')
    expect(seen[0]).toMatchObject({
      host: '127.0.0.1:8080',
      body: {
        query: 'select 1',
        params: ['x', null],
        shard_key: 'user-1',
        consistency: 'eventual',
        options: { keyspace: 'default', row_format: 'array' },
      },
    })
  })

  test('prints rows as JSON objects', async () => {
    const { out } = await call(['sql', 'select 1', '-o', 'json'], { answers })
    expect(JSON.parse(out)).toEqual([
      { id: 'user-1', n: '7', doc: null },
      { id: 'user\u001b-2', n: '10', doc: '{"a":1}' },
    ])
  })

  const shardOf = (id: string, vnodes: readonly string[]) => ({ id, vnodes })
  const topology = {
    keyspaces: [
      {
        keyspace: { name: 'default', epoch: 2 },
        shards: [shardOf('s-2', ['5']), shardOf('s-1', ['1']), shardOf('s-3', [])],
      },
    ],
  }
  const partOf = ({ body, headers }: Seen) => {
    const { options } = body as { options: { shard_id: string } }
    const [, , parent] = headers.get('traceparent')?.split('-') ?? []
    const span = (span_id: string, parent_span_id: string, name: string, attributes = {}) => ({
      span_id,
      parent_span_id,
      name,
      start_ms: 0,
      duration_ms: 1.25,
      attributes,
      error: null,
    })
    const spans = [
      span('a1', parent ?? '', 'POST /v1/execute'),
      span('a2', 'a1', 'plan'),
      span('a3', 'a1', 'shard', {
        'fleetshard.shard.id': options.shard_id,
        'fleetshard.node.id': `${options.shard_id}-a`,
      }),
    ]
    return { ...result, shard_id: options.shard_id, ...(parent === undefined ? {} : { spans }) }
  }
  const all = { 'GET /v1/topology': () => topology, 'POST /v1/execute': partOf }

  test('puts the rows of all shards that own keys together', async () => {
    const { out, err, seen } = await call(['sql', 'select 1', '--all-shards', '-o', 'name'], { answers: all })
    expect(out.split('\n')).toHaveLength(5)
    expect(err).toBe('(4 rows from n-1 of shard s-2, n-1 of shard s-1, 1.3 ms)\n')
    expect(seen.slice(1).map(({ body }) => body)).toMatchObject([
      { options: { shard_id: 's-2', all_shards: true } },
      { options: { shard_id: 's-1', all_shards: true } },
    ])
    expect(seen.every(({ headers }) => headers.get('traceparent') === null)).toBe(true)
  })

  test('never those of two maps, and no more than asked for', async () => {
    let epoch = 1
    const moving = {
      ...all,
      'GET /v1/topology': () => ({
        keyspaces: [
          { keyspace: { name: 'default', epoch: (epoch += 1) - 1 }, shards: [shardOf('s-1', ['1'])] },
        ],
      }),
    }
    const asked = ['sql', 'select 1', '--all-shards']
    const { code, seen } = await call(asked, { answers: moving })
    expect([code, seen.length]).toEqual([0, 4])
    const { err } = await call(asked, { answers: moving })
    expect(err).toContain('the shard map changed')
    const many = await call([...asked, '--max-rows', '3'], { answers: all })
    expect(many.err).toContain('the result has more than 3 rows')
    expect((await call([...asked, '--key', 'x'], { answers: all })).code).toBe(2)
  })

  test('prints the trace of a statement over all shards as a tree', async () => {
    const asked = ['sql', 'select 1', '--all-shards', '--trace']
    const { out, err } = await call(asked, { answers: all })
    expect(err).toBe('')
    expect(out.replace(/^trace [0-9a-f]{32}\n/, '')).toBe(
      [
        'client                         0.00 ms',
        '├─ map                         0.00 ms',
        '├─ request                     0.00 ms  2 rows',
        '│  └─ router POST /v1/execute  1.25 ms',
        '│     ├─ plan                  1.25 ms',
        '│     └─ shard                 1.25 ms  s-1 on s-1-a',
        '└─ request                     0.00 ms  2 rows',
        '   └─ router POST /v1/execute  1.25 ms',
        '      ├─ plan                  1.25 ms',
        '      └─ shard                 1.25 ms  s-2 on s-2-a',
        '',
      ].join('\n'),
    )
    const json = JSON.parse((await call([...asked, '-o', 'json'], { answers: all })).out) as object
    expect(json).toMatchObject({
      root: {
        name: 'client',
        children: [
          { name: 'map' },
          {
            children: [{ name: 'router POST /v1/execute', children: [{ name: 'plan' }, { name: 'shard' }] }],
          },
          {},
        ],
      },
    })
  })

  test('tells where a statement would run', async () => {
    const answer: RouteResponse = {
      plan: 'unkeyed',
      shard_id: null,
      shard_ids: [],
      reason: 'the statement does not say which user_id of users it is about',
      hint: 'send shard_key with it',
      keys: [{ table: 'public.orders', column: 'user_id', values: ['$1'], inserted: false }],
      epoch: 3,
    }
    const { out, seen } = await call(['route', 'select * from users', '-k', 'a', '-p', 'x'], {
      answers: { 'POST /v1/route': () => answer },
    })
    expect(out).toContain('public.orders.user_id = $1')
    expect(out).toContain('send shard_key with it')
    expect(seen[0]).toMatchObject({
      host: '127.0.0.1:8080',
      body: { query: 'select * from users', params: ['x'], shard_key: 'a', options: { keyspace: 'default' } },
    })
  })

  test('reads the statement from standard input', async () => {
    const { seen } = await call(['sql', '-'], { answers, stdin: 'select 2' })
    expect(seen[0]?.body).toMatchObject({ query: 'select 2' })
  })

  test('passes on what Postgres says', async () => {
    const answer = () =>
      new FleetError('sql_error', 'relation "x" does not exist', {
        sqlstate: '42P01',
        facts: { position: 15, shard_id: 's-1' },
      })
    const outcome = await call(['sql', 'select * from x'], { answers: { 'POST /v1/execute': answer } })
    expect(outcome).toMatchObject({ code: 1, out: '' })
    expect(outcome.err).toContain('sqlstate: 42P01\nposition: 15\nshard_id: s-1\n')
  })

  test('two columns of one name have no object', async () => {
    const twice = { ...result, columns: [result.columns[0], result.columns[0]] }
    const outcome = await call(['sql', 'select 1', '-o', 'json'], {
      answers: { 'POST /v1/execute': () => twice },
    })
    expect(outcome).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringContaining('two columns are called id') as string,
    })
  })
})
