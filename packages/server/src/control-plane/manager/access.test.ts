// Who may call which endpoint of the manager, with tokens as their owners send them; and what the audit log says of it.
import { FleetError, type Permission } from '@fleetshard/core'
import type { AuditList, AuditVerification, CreatedToken, TokenList } from '@fleetshard/core/contract'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMemoryBackend } from '../../catalog/backends/memory/mod.ts'
import { keys, type CatalogStore } from '../../catalog/mod.ts'
import type { AuditEntry } from '../../audit/mod.ts'
import { systemClock } from '../../runtime/mod.ts'
import { createAuthenticator } from '../../security/mod.ts'
import type { Api } from './api/context.ts'
import { managerRoutes } from './api/routes.ts'
import { startManager, type Reply, type RunningManager } from './testing/managers.ts'
import { simulate } from './testing/simulated-engine.ts'

const adminToken = 'the token of the operator of this test'.replaceAll(' ', '-')
let store: CatalogStore
let one: RunningManager
let fault: ((entry: AuditEntry) => Error | null) | null

beforeEach(async () => {
  fault = null
  store = createMemoryBackend({ clock: systemClock }).open()
  one = await startManager({
    store,
    engine: simulate().engine,
    auditFault: (entry) => fault?.(entry) ?? null,
    gate: (tokens) =>
      createAuthenticator({
        clock: systemClock,
        isRequired: true,
        onlyOwnHost: false,
        adminToken,
        tokens,
        jwt: null,
        failuresPerMinute: 0,
        requestsPerSecond: 0,
      }),
  })
  await one.leads()
})
afterEach(async () => {
  await one[Symbol.asyncDispose]()
})

const as = (token: string | null): Record<string, string> =>
  token === null ? {} : { authorization: `Bearer ${token}` }

async function send<B>(
  token: string | null,
  method: string,
  path: string,
  body?: unknown,
): Promise<Omit<Reply, 'body'> & { readonly body: B }> {
  const reply = await one.send(method, path, body, as(token))
  return { ...reply, body: reply.body as unknown as B }
}

async function made(name: string, scopes: readonly string[]): Promise<CreatedToken> {
  const { status, body } = await send<CreatedToken>(adminToken, 'POST', '/api/v1/tokens', { name, scopes })
  expect(status).toBe(201)
  return body
}

const auditOf = async (): Promise<AuditList['records']> =>
  (await send<AuditList>(adminToken, 'GET', '/api/v1/audit?limit=1000')).body.records

/** Written down here once more, apart from the table that is tested. */
const ALLOWED: Readonly<Record<string, readonly Permission[]>> = {
  nobody: ['open'],
  viewer: ['open', 'self', 'view'],
  operator: ['open', 'self', 'view', 'operate'],
  admin: ['open', 'self', 'view', 'operate', 'administer'],
  'write:*': ['open', 'self'],
}

describe('the matrix', () => {
  it.each(Object.keys(ALLOWED))('of %s is what the table says, for every route', async (scope) => {
    const token =
      scope === 'nobody' ? null : scope === 'admin' ? adminToken : (await made('one', [scope])).token
    const routes = managerRoutes({} as Api)
    expect(routes.length).toBeGreaterThan(40)
    for (const { method, url, permission } of routes) {
      const path = url.replaceAll(/:\w+/g, 'none')
      const { status } = await send(
        token,
        method,
        path,
        method === 'GET' || method === 'DELETE' ? undefined : {},
      )
      const refusal = token === null ? 401 : 403
      const isAllowed = ALLOWED[scope]!.includes(permission)
      expect([401, 403].includes(status) ? status : 'let in', `${method} ${url}`).toBe(
        isAllowed ? 'let in' : refusal,
      )
    }
  })

  it('is asked before the body is read', async () => {
    const response = await fetch(`${one.url}/api/v1/shards`, { method: 'POST', body: 'x'.repeat(1_000_000) })
    expect(response.status).toBe(401)
    expect(response.headers.get('www-authenticate')).toContain('Bearer')
    expect(await response.json()).toMatchObject({ code: 'unauthenticated', retryable: false })
  })

  it('holds for HEAD, with a slash at the end, and for paths written in another way', async () => {
    for (const [method, path] of [
      ['HEAD', '/api/v1/shards'],
      ['GET', '/api/v1/shards/'],
      ['GET', '/api/v1/%73hards'],
      ['GET', '/api/v1/shards?x'],
    ] as const)
      expect((await fetch(one.url + path, { method })).status, path).toBe(401)
  })
})

it('a caller beyond his limit is told when to come again, and others go on', async () => {
  await using limited = await startManager({
    store: createMemoryBackend({ clock: systemClock }).open(),
    engine: simulate().engine,
    gate: (tokens) =>
      createAuthenticator({
        clock: systemClock,
        isRequired: true,
        onlyOwnHost: false,
        adminToken,
        tokens,
        jwt: null,
        failuresPerMinute: 2,
        requestsPerSecond: 5,
      }),
  })
  const statuses = await Promise.all(
    Array.from(
      { length: 20 },
      async () => (await limited.send('GET', '/api/v1/shards', undefined, as(adminToken))).status,
    ),
  )
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(5)
  expect(statuses).toContain(429)
  const guess = () => limited.send('GET', '/api/v1/shards', undefined, as('guess'))
  expect([(await guess()).status, (await guess()).status]).toEqual([401, 401])
  const last = await guess()
  expect([last.status, last.body.code]).toEqual([429, 'rate_limited'])
  expect(Number(last.headers.get('retry-after'))).toBeGreaterThan(0)
  expect((await limited.send('GET', '/health')).status).toBe(200)
})

describe('tokens', () => {
  it('are shown once, listed without what they are, and end when revoked', async () => {
    const token = await made('ci', ['viewer', 'read:app'])
    const { body } = await send<TokenList>(adminToken, 'GET', '/api/v1/tokens')
    const { token: secret, ...rest } = token
    expect(body.tokens).toEqual([rest])
    const { entries } = await store.read('')
    expect(JSON.stringify([entries, await auditOf(), one.audit])).not.toContain(secret.slice(-43))
    expect((await send(secret, 'GET', '/api/v1/shards')).status).toBe(200)
    expect((await send(adminToken, 'DELETE', '/api/v1/tokens/ci')).status).toBe(204)
    expect((await send(secret, 'GET', '/api/v1/shards')).status).toBe(401)
    expect((await send(adminToken, 'DELETE', `/api/v1/tokens/${token.id}`)).status).toBe(404)
  })

  it('have names of their own, scopes that exist, and an end to come', async () => {
    await made('ci', ['viewer'])
    const post = async (body: unknown) => (await send(adminToken, 'POST', '/api/v1/tokens', body)).status
    expect(await post({ name: 'ci', scopes: ['viewer'] })).toBe(409)
    for (const body of [
      { name: 'x', scopes: [] },
      { name: 'x', scopes: ['root'] },
      { name: 'x', scopes: ["read:a'; drop table users --"] },
      { name: '../../etc/passwd', scopes: ['viewer'] },
      { name: 'x\n', scopes: ['viewer'] },
      { name: 'x', scopes: ['viewer'], expires_at: '2001-01-01T00:00:00Z' },
      { name: 'x', scopes: ['viewer'], expires_at: 'soon' },
      { name: 'x', scopes: ['viewer'], digest: 'mine' },
    ])
      expect(await post(body), JSON.stringify(body)).toBe(400)
  })

  it('cannot be made by those who are no admins, whatever they ask for', async () => {
    const { token } = await made('operator', ['operator', 'write:*'])
    const { status } = await send(token, 'POST', '/api/v1/tokens', { name: 'more', scopes: ['admin'] })
    expect(status).toBe(403)
  })
})

describe('the audit log', () => {
  it('says who, what, from where, why, before, after and outcome; begun before it ended', async () => {
    const { token } = await made('ci', ['operator'])
    await one.send(
      'POST',
      '/api/v1/keyspaces',
      { name: 'app' },
      { ...as(token), 'x-fleetshard-reason': 'new%20app' },
    )
    const [ended, begun] = await auditOf()
    expect(begun).toMatchObject({
      phase: 'begun',
      what: 'keyspace.create',
      outcome: null,
      change: ended?.change,
    })
    expect(ended).toMatchObject({
      phase: 'ended',
      who: { kind: 'token', subject: 'ci', role: 'operator' },
      from: '127.0.0.1',
      what: 'keyspace.create',
      target: 'app',
      reason: 'new app',
      before: null,
      after: { name: 'app' },
      outcome: 'ok',
    })
  })

  it('has what was refused: at the door, and inside', async () => {
    const { token } = await made('looker', ['viewer'])
    await send(token, 'DELETE', '/api/v1/shards/a?x=1')
    await send(null, 'POST', '/api/v1/reshard/split', {})
    await send(adminToken, 'DELETE', '/api/v1/keyspaces/none')
    const [inside, , unknown, refused] = await auditOf()
    expect(refused).toMatchObject({
      phase: 'refused',
      who: { subject: 'looker' },
      what: 'DELETE /api/v1/shards/:id',
      target: '/api/v1/shards/a',
      outcome: 'forbidden',
    })
    expect(unknown).toMatchObject({ who: { kind: 'anonymous', role: null }, outcome: 'unauthenticated' })
    expect(inside).toMatchObject({ phase: 'ended', what: 'keyspace.delete', outcome: 'not_found' })
  })

  it('is written before anything is changed: without it nothing is', async () => {
    fault = () => new FleetError('audit_unavailable', 'the disk is full')
    const { status, body } = await send<{ code: string }>(adminToken, 'POST', '/api/v1/keyspaces', {
      name: 'app',
    })
    expect([status, body.code]).toEqual([503, 'audit_unavailable'])
    fault = null
    expect((await send(adminToken, 'GET', '/api/v1/keyspaces/app')).status).toBe(404)
  })

  it('that cannot take the end of a change fails it, and says that it was made', async () => {
    fault = ({ phase }) => (phase === 'ended' ? new Error('the disk is full') : null)
    const { status, body } = await send<{ code: string; detail: string }>(
      adminToken,
      'POST',
      '/api/v1/keyspaces',
      {
        name: 'app',
      },
    )
    expect([status, body.code]).toEqual([503, 'audit_unavailable'])
    expect(body.detail).toContain('the change was made')
    fault = null
    expect((await send(adminToken, 'GET', '/api/v1/keyspaces/app')).status).toBe(200)
  })

  it('is verified, and names a record that somebody has changed in the catalog', async () => {
    await made('a', ['viewer'])
    await made('b', ['viewer'])
    const verify = async () =>
      (await send<AuditVerification>(adminToken, 'GET', '/api/v1/audit/verification')).body
    expect(await verify()).toMatchObject({ records: 4, fault: null })
    const { entries } = await store.read(keys.audit)
    const { key, value } = entries.find((entry) => entry.value.includes('"seq":2,'))!
    await store.commit([], [{ kind: 'put', key, value: value.replace('"ok"', '"forbidden"') }])
    expect((await verify()).fault).toEqual({ seq: 2, what: 'its content is not what was recorded' })
  })

  it('does not drown in what is refused at the door', async () => {
    for (let index = 0; index < 80; index += 1) await send(null, 'DELETE', '/api/v1/shards/a')
    const records = await auditOf()
    expect(records.length).toBeGreaterThanOrEqual(60)
    expect(records.length).toBeLessThan(75)
  })
})
