// Tokens that are forged, expired, for others, revoked, or stolen from somebody who may do less: all are refused, on
// every surface.
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { SignJWT, type JWK } from 'jose'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fleetshard } from '../e2e/harness/processes.ts'
import { claims, inside, startFleet, type Fleet } from './fleet.ts'

let fleet: Fleet

beforeAll(async () => {
  fleet = await startFleet()
  await fleet.cluster.cli('table', 'declare', 'users', '--key-column', 'user_id')
})
afterAll(async () => {
  await fleet[Symbol.asyncDispose]()
})

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const now = (): number => Math.floor(Date.now() / 1000)

async function overWire(password: string, user = 'token'): Promise<string> {
  const port = fleet.cluster.state.ports['router.wire-port']!
  const client = new pg.Client({ host: '127.0.0.1', port, user, password, database: 'default' })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query('select 1')
    return 'ok'
  } catch (error) {
    return String((error as { code?: unknown }).code)
  } finally {
    await client.end()
  }
}

const statement = { query: 'select 1', shard_key: 'a' }

/** The status of manager and router, and the SQLSTATE. */
async function everywhere(token: string): Promise<readonly [number, number, string]> {
  const manager = await fleet.manager(token, 'GET', '/api/v1/shards')
  const router = await fleet.router(token, 'POST', '/v1/execute', statement)
  for (const { body } of [manager, router]) expect(JSON.stringify(body)).not.toMatch(inside)
  return [manager.status, router.status, await overWire(token)]
}

const letIn = [200, 200, 'ok']
const refused = [401, 401, '28P01']

describe('what is valid', () => {
  it('is let in everywhere: the operator, a token, JSON web tokens of both kinds', async () => {
    expect(await everywhere(fleet.adminToken)).toEqual(letIn)
    expect(await everywhere(await fleet.made('valid', 'admin'))).toEqual(letIn)
    expect(await everywhere(await fleet.byShared())).toEqual(letIn)
    expect(await everywhere(await fleet.byIssuer())).toEqual(letIn)
  })

  it("the operator's token is found by the command line, and by nobody else", async () => {
    const path = join(fleet.cluster.dataDir, 'admin.token')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(fleet.cluster.up.output().out).toContain(path)
    expect(fleet.cluster.up.output().out).not.toContain(fleet.adminToken)
    expect(await fleet.cluster.cli('shard', 'list')).toMatchObject({ code: 0 })
    // Not sent to an address that somebody names.
    const named = ['--manager-url', fleet.cluster.state.urls.manager]
    expect(await fleet.cluster.cli('shard', 'list', ...named)).toMatchObject({ code: 3 })
  })
})

describe('forged, expired and foreign tokens', () => {
  const forgeries: Readonly<Record<string, () => Promise<string>>> = {
    'none at all': async () => 'x',
    'of another secret': () =>
      claims().setProtectedHeader({ alg: 'HS256' }).sign(bytes('another secret of some length, that is')),
    'of an empty secret': async () => {
      const [header, payload] = (await fleet.byShared()).split('.')
      return `${header!}.${payload!}.`
    },
    'without algorithm': async () =>
      `${part({ alg: 'none', typ: 'JWT' })}.${(await fleet.byShared()).split('.')[1]!}.`,
    'with None': async () => `${part({ alg: 'None' })}.${(await fleet.byShared()).split('.')[1]!}.`,
    'with the public key as secret': () =>
      claims().setProtectedHeader({ alg: 'HS256' }).sign(bytes(fleet.publicPem)),
    'with a key of their own in the header': () => {
      const own = { kty: 'oct', k: Buffer.from('mine'.repeat(8)).toString('base64url') }
      return claims()
        .setProtectedHeader({ alg: 'HS256', jwk: own as JWK })
        .sign(bytes('mine'.repeat(8)))
    },
    'with a file as key id': () =>
      claims()
        .setProtectedHeader({ alg: 'HS256', kid: '../../../../dev/null' })
        .sign(bytes('\0'.repeat(32))),
    'with other claims under a good signature': async () => {
      const [header, payload, signature] = (await fleet.byShared({ fleetshard: ['viewer'] })).split('.')
      const raised = {
        ...(JSON.parse(Buffer.from(payload!, 'base64url').toString()) as object),
        fleetshard: ['admin'],
      }
      return `${header!}.${part(raised)}.${signature!}`
    },
    expired: () => fleet.byShared({ exp: now() - 60 }),
    'expired, of the issuer': () => fleet.byIssuer({ exp: now() - 60 }),
    'that never expire': () =>
      new SignJWT({ sub: 'a', aud: 'fleetshard', iss: 'https://issuer.test', fleetshard: ['admin'] })
        .setProtectedHeader({ alg: 'HS256' })
        .sign(bytes(fleet.sharedSecret)),
    'not valid yet': () => fleet.byIssuer({ nbf: now() + 600 }),
    'for another audience': () => fleet.byIssuer({ aud: 'billing' }),
    'of another issuer': () => fleet.byIssuer({ iss: 'https://evil.test' }),
    'of nobody': () => fleet.byIssuer({ sub: undefined }),
  }
  it.each(Object.entries(forgeries))('%s are refused everywhere', async (_what, make) => {
    expect(await everywhere(await make())).toEqual(refused)
  })

  it('give nothing by scopes that do not exist', async () => {
    const token = await fleet.byIssuer({ fleetshard: ['root', 'admin ', 'write:', '__proto__'] })
    expect(await everywhere(token)).toEqual([403, 403, '42501'])
  })
})

describe('a token that was revoked', () => {
  it('is refused when it is used again, though it was good a moment ago', async () => {
    const token = await fleet.made('short-lived', 'admin')
    expect(await everywhere(token)).toEqual(letIn)
    expect(await fleet.cluster.cli('token', 'revoke', 'short-lived', '--reason', 'it leaked')).toMatchObject({
      code: 0,
    })
    expect((await fleet.manager(token, 'GET', '/api/v1/shards')).status).toBe(401)
    // The router hears of it by the catalog.
    await expect
      .poll(async () => (await fleet.router(token, 'POST', '/v1/execute', statement)).status)
      .toBe(401)
    expect(await overWire(token)).toBe('28P01')
  })
})

describe('a stolen token of somebody who may do less', () => {
  it('of a viewer changes nothing, reads no row, makes no token and sees no audit', async () => {
    const token = await fleet.made('stolen-viewer', 'viewer')
    const { body } = await fleet.manager(token, 'GET', '/api/v1/shards')
    const [shard] = (body as unknown as { shards: { id: string }[] }).shards
    for (const [method, path, content] of [
      ['DELETE', `/api/v1/shards/${shard!.id}`, undefined],
      ['PATCH', `/api/v1/shards/${shard!.id}`, { status: 'inactive' }],
      ['POST', `/api/v1/shards/${shard!.id}/promote`, { reason: 'mine', force: true }],
      ['POST', '/api/v1/keyspaces', { name: 'mine' }],
      ['POST', '/api/v1/tokens', { name: 'more', scopes: ['admin'] }],
      ['GET', '/api/v1/tokens', undefined],
      ['GET', '/api/v1/audit', undefined],
    ] as const)
      expect((await fleet.manager(token, method, path, content)).status, path).toBe(403)
    expect((await fleet.router(token, 'POST', '/v1/execute', statement)).status).toBe(403)
    expect(await overWire(token)).toBe('42501')
    const run = (...words: string[]) =>
      fleetshard([...words, '--data-dir', fleet.cluster.dataDir], { env: { FLEETSHARD_TOKEN: token } })
    expect(await run('shard', 'list')).toMatchObject({ code: 0 })
    const refusal = await run('shard', 'delete', shard!.id, '--yes')
    expect(refusal).toMatchObject({ code: 3 })
    expect(refusal.err).toContain('stolen-viewer lacks the permission operate')
    expect(refusal.err).not.toContain(token)
  })

  it('of a reader writes nothing, on any way', async () => {
    const token = await fleet.made('stolen-reader', 'read:default')
    const write = { query: 'create table mine (n int)', shard_key: 'a' }
    expect(await fleet.router(token, 'POST', '/v1/execute', write)).toMatchObject({
      status: 403,
      body: { code: 'forbidden', sqlstate: '42501' },
    })
    const body = { client_id: 'thief', keyspace: 'default', acked_epoch: 1 }
    expect((await fleet.router(token, 'POST', '/v1/topology/sessions', body)).status).toBe(403)
    expect((await fleet.manager(token, 'GET', '/api/v1/shards')).status).toBe(403)
  })

  it('raises nobody by headers that proxies and managers send', async () => {
    const token = await fleet.made('stolen-header', 'viewer')
    for (const headers of [
      { 'x-fleetshard-forwarded': 'manager-1' },
      { 'x-forwarded-for': '127.0.0.1', 'x-real-ip': '127.0.0.1' },
      { 'x-http-method-override': 'GET' },
      { 'x-original-url': '/health', 'x-rewrite-url': '/health' },
    ]) {
      const { status } = await fleet.cluster.manager('POST', '/api/v1/keyspaces', { name: 'mine' }, {
        ...headers,
        authorization: `Bearer ${token}`,
      } as Record<string, string>)
      expect(status).toBe(403)
    }
  })
})

it('what was tried is in the audit log, which is whole and holds no token', async () => {
  const audit = await fleet.cluster.cli('audit', 'list', '--limit', '1000', '-o', 'json')
  const records = JSON.parse(audit.out) as { outcome: string; phase: string; who: { subject: string } }[]
  expect(records.filter(({ outcome }) => outcome === 'forbidden').length).toBeGreaterThan(4)
  expect(records.some(({ who }) => who.subject === 'stolen-viewer')).toBe(true)
  expect(audit.out).not.toContain(fleet.adminToken)
  expect(audit.out).not.toMatch(/fst_[0-9a-f]{16}_/)
  expect(await fleet.cluster.cli('audit', 'verify')).toMatchObject({ code: 0 })
  const exported = await fleet.cluster.cli('audit', 'export')
  expect(exported.out.trim().split('\n').length).toBeGreaterThanOrEqual(records.length)
})
