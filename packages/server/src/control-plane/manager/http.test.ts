// What the manager answers to malformed, foreign and oversized requests, and what it tells about itself.
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { compileParser, CreateShard } from '@fleetshard/core/contract'
import { createMemoryBackend } from '../../catalog/backends/memory/mod.ts'
import { systemClock } from '../../runtime/mod.ts'
import { startManager, type RunningManager } from './testing/managers.ts'
import { simulate } from './testing/simulated-engine.ts'

let one: RunningManager

beforeAll(async () => {
  const store = createMemoryBackend({ clock: systemClock }).open()
  one = await startManager({ store, engine: simulate().engine })
  await one.leads()
})
afterAll(async () => {
  await one[Symbol.asyncDispose]()
})

/** Sends bytes as they are and returns all that comes back until the server closes. */
async function raw(text: string): Promise<string> {
  const { port } = new URL(one.url)
  const { promise, resolve } = Promise.withResolvers<string>()
  let answer = ''
  const socket = connect(Number(port), '127.0.0.1', () => socket.write(text))
  socket.on('data', (chunk) => (answer += chunk.toString()))
  socket.on('close', () => {
    resolve(answer)
  })
  return promise
}

interface OpenApi {
  readonly openapi: string
  readonly paths: Readonly<Record<string, object>>
}

describe('bad requests', () => {
  it.each([
    ['malformed JSON', '{"name": ', 'malformed_json', 400],
    ['a body that is no object', '[]', 'invalid_request', 400],
    ['null', 'null', 'invalid_request', 400],
    ['an empty body', '', 'invalid_request', 400],
    ['a prototype key', '{"__proto__": {"a": 1}}', 'malformed_json', 400],
  ])('refuses %s with a problem', async (_what, body, code, status) => {
    const answer = await one.send('POST', '/api/v1/shards', body)
    expect(answer).toMatchObject({ status, body: { code, status, retryable: false } })
    expect(answer.headers.get('content-type')).toContain('application/problem+json')
    expect(answer.body.trace_id).toMatch(/^[0-9a-f]{32}$/)
    expect(answer.body.title).toBeTypeOf('string')
  })

  it('names unknown fields, at any depth', async () => {
    const flat = await one.send('POST', '/api/v1/shards', { name: 'a', primary: 'x', vnodes: 3 })
    expect(flat.body.detail).toContain('unknown fields "primary", "vnodes"')
    const deep = await one.send('POST', '/api/v1/keyspaces/default/tables', {
      tables: [{ name: 'a', keycolumn: 'b' }],
    })
    expect(deep.body.detail).toContain('tables[0] has unknown field "keycolumn"')
    const query = await one.send('GET', '/api/v1/shards?color=red')
    expect(query.body.detail).toContain('the query has unknown field "color"')
  })

  it('names fields of a wrong type and fields that are missing', async () => {
    const answer = await one.send('POST', '/api/v1/shards', { primary_endpoint: 7, vnode_count: '256' })
    expect(answer.status).toBe(400)
    expect(answer.body.detail).toContain('"name"')
    expect(answer.body.detail).toContain('primary_endpoint must be string')
    expect(answer.body.detail).toContain('vnode_count must be integer')
    const odd = await one.send('GET', '/api/v1/shards?vnodes=maybe')
    expect(odd.status).toBe(400)
    const status = await one.send('GET', '/api/v1/shards?status=sleeping')
    expect(status.body.detail).toContain('"active", "migrating", "readonly", "inactive"')
  })

  it('refuses another content type, and a body beyond the limit', async () => {
    const text = await one.send('POST', '/api/v1/shards', 'name=a', { 'content-type': 'text/plain' })
    expect(text).toMatchObject({ status: 415, body: { code: 'unsupported_media_type' } })
    const large = await one.send('POST', '/api/v1/shards', { name: 'x'.repeat(11 * 1024 * 1024) })
    expect(large).toMatchObject({ status: 413, body: { code: 'request_too_large' } })
  })

  it('answers unknown paths, methods and undecodable paths with a problem', async () => {
    expect(await one.send('GET', '/api/v1/nothing')).toMatchObject({
      status: 404,
      body: { code: 'route_not_found' },
    })
    const put = await one.send('PUT', '/api/v1/shards/a')
    expect(put).toMatchObject({ status: 405, body: { code: 'method_not_allowed' } })
    expect(put.headers.get('allow')).toBe('GET, PATCH, DELETE, HEAD')
    expect(await one.send('DELETE', '/api/v1/shards?a=b')).toMatchObject({ status: 405 })
    expect(await one.send('POST', '/api/v1/shards/a/nowhere', {})).toMatchObject({
      status: 404,
      body: { code: 'route_not_found' },
    })
    const undecodable = await one.send('GET', '/api/v1/shards/%zz')
    expect(undecodable).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
    const long = await one.send('GET', `/api/v1/shards/${'x'.repeat(5000)}`)
    expect(long).toMatchObject({ status: 404, body: { code: 'route_not_found' } })
    for (const { body } of [put, undecodable, long]) expect(body.hint).toBeTypeOf('string')
  })

  it('lets no path leave the folder of the docs', async () => {
    const answer = await raw(
      'GET /docs/static/../../../../etc/passwd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n',
    )
    expect(answer).toContain('404 Not Found')
    expect(answer).toContain('"code":"route_not_found"')
    expect(await one.send('GET', '/docs/static/none.js')).toMatchObject({
      status: 404,
      body: { code: 'route_not_found' },
    })
  })

  it('answers bytes that are not HTTP', async () => {
    const answer = await raw('NONSENSE\r\n\r\n')
    expect(answer).toContain('400 Bad Request')
    expect(answer).toContain('"code":"invalid_request"')
    const headers = await raw(`GET / HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`)
    expect(headers).toContain('431')
  })

  it('takes the trace id of the caller over', async () => {
    const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
    const answer = await one.send('GET', '/api/v1/shards/none', undefined, {
      traceparent: `00-${trace}-00f067aa0ba902b7-01`,
    })
    expect(answer.body.trace_id).toBe(trace)
  })
})

describe('what a manager tells about itself', () => {
  it('is alive, ready and leading', async () => {
    expect(await one.send('GET', '/health')).toMatchObject({
      status: 200,
      body: { status: 'ok', role: 'manager' },
    })
    expect(await one.send('GET', '/ready')).toMatchObject({
      status: 200,
      body: { status: 'ready', leader: true, leader_url: one.url, catalog: { reachable: true } },
    })
  })

  it('describes every route in OpenAPI 3.1', async () => {
    const body = (await (await fetch(`${one.url}/openapi.json`)).json()) as OpenApi
    expect(body.openapi).toBe('3.1.0')
    const operations = Object.entries(body.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    )
    expect(operations.toSorted()).toEqual([
      'DELETE /api/v1/keyspaces/{keyspace}',
      'DELETE /api/v1/keyspaces/{keyspace}/tables/{table}',
      'DELETE /api/v1/nodes/{id}',
      'DELETE /api/v1/shards/{id}',
      'DELETE /api/v1/shards/{id}/nodes/{node}',
      'DELETE /api/v1/tokens/{id}',
      'GET /api/v1/audit',
      'GET /api/v1/audit/verification',
      'GET /api/v1/jobs',
      'GET /api/v1/jobs/{id}',
      'GET /api/v1/keyspaces',
      'GET /api/v1/keyspaces/{keyspace}',
      'GET /api/v1/keyspaces/{keyspace}/tables',
      'GET /api/v1/keyspaces/{keyspace}/tables/suggestions',
      'GET /api/v1/keyspaces/{keyspace}/tables/{table}',
      'GET /api/v1/nodes',
      'GET /api/v1/nodes/{id}',
      'GET /api/v1/reshard/jobs/{id}',
      'GET /api/v1/shards',
      'GET /api/v1/shards/{id}',
      'GET /api/v1/shards/{id}/failovers',
      'GET /api/v1/tokens',
      'GET /api/v1/topology',
      'GET /api/v1/vdiff/{id}',
      'GET /auth/callback',
      'GET /auth/login',
      'GET /auth/me',
      'GET /health',
      'GET /ready',
      'PATCH /api/v1/keyspaces/{keyspace}',
      'PATCH /api/v1/shards/{id}',
      'POST /api/v1/keyspaces',
      'POST /api/v1/keyspaces/{keyspace}/adopt',
      'POST /api/v1/keyspaces/{keyspace}/tables',
      'POST /api/v1/nodes',
      'POST /api/v1/reshard/jobs/{id}/cancel',
      'POST /api/v1/reshard/jobs/{id}/complete',
      'POST /api/v1/reshard/jobs/{id}/pause',
      'POST /api/v1/reshard/jobs/{id}/resume',
      'POST /api/v1/reshard/jobs/{id}/reverse',
      'POST /api/v1/reshard/merge',
      'POST /api/v1/reshard/move',
      'POST /api/v1/reshard/rebalance',
      'POST /api/v1/reshard/split',
      'POST /api/v1/secrets/rotation',
      'POST /api/v1/shards',
      'POST /api/v1/shards/{id}/nodes',
      'POST /api/v1/shards/{id}/nodes/{node}/rebuild',
      'POST /api/v1/shards/{id}/promote',
      'POST /api/v1/tokens',
      'POST /api/v1/vdiff',
      'POST /auth/logout',
    ])
    expect(body.paths['/api/v1/shards']).toMatchObject({
      post: {
        requestBody: {
          content: { 'application/json': { schema: { required: ['name'], additionalProperties: false } } },
        },
        responses: { default: { content: { 'application/problem+json': {} } } },
      },
    })
  })

  it('shows in the docs a body that it would take, and what came of it', async () => {
    const document: unknown = await (await fetch(`${one.url}/openapi.json`)).json()
    const { examples } = CreateShard as { readonly examples?: readonly unknown[] }
    expect(document).toMatchObject({
      paths: {
        '/api/v1/shards': {
          post: {
            requestBody: { content: { 'application/json': { example: examples?.[0] } } },
            responses: { 201: { description: 'created; the header Location has its address' } },
          },
        },
      },
    })
    expect(compileParser(CreateShard, 'body')(examples?.[0])).toHaveProperty('primary_endpoint')
  })

  it('leads from its address to docs that bear its own name', async () => {
    const response = await fetch(one.url)
    expect(response.url).toBe(`${one.url}/docs`)
    const page = await response.text()
    expect(page).toContain('<title>FleetShard manager</title>')
    expect(page).toContain('page.css')
  })

  it('serves its docs without naming another host', async () => {
    const response = await fetch(`${one.url}/docs/`)
    const page = await response.text()
    expect(response.status).toBe(200)
    expect([...page.matchAll(/(?:src|href)="(https?:)?\/\//g)]).toEqual([])
    expect(response.headers.get('content-security-policy')).toContain("default-src 'self'")
  })

  it('counts requests, changes and leadership', async () => {
    await one.send('GET', '/api/v1/shards')
    await one.send('POST', '/api/v1/keyspaces', { name: 'counted' })
    const text = await one.metrics()
    expect(text).toContain('fleetshard_manager_leader 1')
    expect(text).toMatch(
      /fleetshard_manager_requests_total\{method="GET",route="\/api\/v1\/shards",status="200"\} \d/,
    )
    expect(text).toContain('fleetshard_manager_changes_total{what="keyspace.create",outcome="ok"} 1')
    expect(text).toContain('fleetshard_manager_map_epoch{keyspace="counted"} 1')
  })
})
