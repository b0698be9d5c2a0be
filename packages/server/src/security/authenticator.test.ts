import type { IncomingMessage } from 'node:http'
import { beforeEach, describe, expect, it } from 'vitest'
import type { TokenRecord } from '@fleetshard/core'
import { manualClock, type ManualClock } from '../runtime/testing/manual-clock.ts'
import { isSecretOf, makeToken, parseToken, type MadeToken } from './api-token.ts'
import {
  createAuthenticator,
  verifiedMax,
  type Authenticator,
  type AuthenticatorParts,
  type KnownTokens,
} from './authenticator.ts'

const adminToken = 'a'.repeat(43)
let clock: ManualClock
let tokens: KnownTokens
let ci: MadeToken

const recordOf = ({ id, digest }: MadeToken, changed: Partial<TokenRecord> = {}): TokenRecord => ({
  id,
  digest,
  name: 'ci',
  scopes: ['operator', 'read:app'],
  createdBy: 'admin',
  createdAt: '2026-01-01T00:00:00Z',
  expiresAt: null,
  version: 1,
  ...changed,
})

beforeEach(() => {
  clock = manualClock()
  ci = makeToken()
  tokens = new Map([[ci.id, recordOf(ci)]])
})

const authenticator = (changed: Partial<AuthenticatorParts> = {}): Authenticator =>
  createAuthenticator({
    clock,
    isRequired: true,
    onlyOwnHost: false,
    adminToken,
    tokens: () => tokens,
    jwt: null,
    failuresPerMinute: 0,
    requestsPerSecond: 0,
    ...changed,
  })

const requestWith = (headers: object, remoteAddress = '10.0.0.1'): IncomingMessage =>
  ({ headers, socket: { remoteAddress } }) as IncomingMessage

const request = (authorization?: string, address?: string): IncomingMessage =>
  requestWith(authorization === undefined ? {} : { authorization }, address)

const enter = async (one: Authenticator, authorization?: string, address?: string) =>
  one.enter(request(authorization, address))

describe('tokens', () => {
  it('are made once, and known by a digest', () => {
    const { id, secret } = parseToken(ci.token)!
    expect([id, isSecretOf(secret, ci.digest), isSecretOf(`${secret.slice(1)}A`, ci.digest)]).toEqual([
      ci.id,
      true,
      false,
    ])
    expect(ci.digest).not.toContain(secret)
    expect(makeToken().token).not.toBe(ci.token)
  })

  it('say who asks', async () => {
    const one = authenticator()
    expect(await enter(one, `Bearer ${ci.token}`)).toMatchObject({
      subject: 'ci',
      kind: 'token',
      role: 'operator',
    })
    expect(await enter(one, `bearer ${adminToken}`)).toMatchObject({
      subject: 'admin',
      kind: 'admin',
      role: 'admin',
    })
  })

  it.each([
    ['another secret', () => `Bearer ${ci.token.slice(0, -1)}${ci.token.endsWith('A') ? 'B' : 'A'}`],
    ['an id that nobody has', () => `Bearer fst_0000000000000000_${ci.token.slice(-43)}`],
    ['another form', () => 'Bearer letmein'],
    ['no scheme', () => ci.token],
    ['basic', () => `Basic ${Buffer.from('a:b').toString('base64')}`],
    ['nothing behind the scheme', () => 'Bearer '],
    ['a JSON web token where none is accepted', () => 'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.'],
    ['a huge one', () => `Bearer ${'x'.repeat(100_000)}`],
  ])('are refused with %s, also where nobody has to say who he is', async (_what, header) => {
    for (const isRequired of [true, false]) {
      await expect(enter(authenticator({ isRequired }), header())).rejects.toMatchObject({
        code: 'unauthenticated',
        status: 401,
      })
    }
  })

  it('end at their time, whether they were verified before or not', async () => {
    const one = authenticator()
    tokens = new Map([[ci.id, recordOf(ci, { expiresAt: new Date(clock.now() + 1_000).toISOString() })]])
    await enter(one, `Bearer ${ci.token}`)
    clock.advance(1_001)
    await expect(enter(one, `Bearer ${ci.token}`)).rejects.toMatchObject({ message: 'the token has expired' })
  })

  it('are refused as soon as they are revoked, though they were verified before', async () => {
    const one = authenticator()
    await enter(one, `Bearer ${ci.token}`)
    tokens = new Map()
    await expect(enter(one, `Bearer ${ci.token}`)).rejects.toMatchObject({ code: 'unauthenticated' })
  })

  it('are remembered: the next request waits for nothing', async () => {
    const one = authenticator()
    await enter(one, `Bearer ${ci.token}`)
    expect(one.enter(request(`Bearer ${ci.token}`))).not.toBeInstanceOf(Promise)
  })

  it('are remembered in bounded number', async () => {
    let asked = 0
    const jwt = {
      verify: async (token: string) => {
        asked += 1
        return {
          principal: { subject: token, kind: 'jwt' as const, role: null, grants: new Map() },
          expiresAtMs: Infinity,
        }
      },
    }
    const one = authenticator({ jwt })
    for (let index = 0; index <= verifiedMax; index += 1) await one.verify(`t.${String(index)}.x`, '')
    await one.verify('t.1.x', '')
    expect(asked).toBe(verifiedMax + 1)
    await one.verify('t.0.x', '')
    expect(asked).toBe(verifiedMax + 2)
  })
})

describe('those without a token', () => {
  it('are nobody where all are asked, and everybody where nobody is', async () => {
    expect(await enter(authenticator())).toMatchObject({ kind: 'anonymous', role: null })
    expect(await enter(authenticator({ isRequired: false }))).toMatchObject({
      kind: 'anonymous',
      role: 'admin',
    })
  })
})

it('those who call an open server by another name are kept out: a page of a browser might', async () => {
  const one = authenticator({ isRequired: false, onlyOwnHost: true })
  const by = async (host: string) => one.enter(requestWith({ host }))
  for (const host of ['localhost', 'localhost:8080', '127.0.0.1:8080', '[::1]:8080', '127.9.9.9'])
    expect(await by(host)).toMatchObject({ role: 'admin' })
  for (const host of ['evil.test', 'evil.test:8080', '127.0.0.1.evil.test', '10.0.0.1', ''])
    await expect(by(host), host).rejects.toMatchObject({ code: 'forbidden' })
})

describe('limits', () => {
  it('make an address wait that fails too often, and no other', async () => {
    const one = authenticator({ failuresPerMinute: 3 })
    for (const code of ['unauthenticated', 'unauthenticated', 'unauthenticated', 'rate_limited'])
      await expect(enter(one, 'Bearer guess')).rejects.toMatchObject({ code })
    await expect(enter(one, 'Bearer guess', '10.0.0.2')).rejects.toMatchObject({ code: 'unauthenticated' })
    clock.advance(20_000)
    await expect(enter(one, 'Bearer guess')).rejects.toMatchObject({ code: 'unauthenticated' })
  })

  it('do not stop those who are known already', async () => {
    const one = authenticator({ failuresPerMinute: 1 })
    await enter(one, `Bearer ${ci.token}`)
    await expect(enter(one, 'Bearer guess')).rejects.toMatchObject({ code: 'unauthenticated' })
    await expect(enter(one, 'Bearer guess')).rejects.toMatchObject({ code: 'rate_limited' })
    expect(await enter(one, `Bearer ${ci.token}`)).toMatchObject({ subject: 'ci' })
  })

  it('count requests by caller, wherever he is', async () => {
    const one = authenticator({ requestsPerSecond: 2 })
    await enter(one, `Bearer ${ci.token}`)
    await enter(one, `Bearer ${ci.token}`, '10.0.0.2')
    const refused = enter(one, `Bearer ${ci.token}`, '10.0.0.3')
    await expect(refused).rejects.toMatchObject({ code: 'rate_limited', facts: { retry_after_ms: 500 } })
    expect(await enter(one, `Bearer ${adminToken}`)).toMatchObject({ kind: 'admin' })
    clock.advance(500)
    expect(await enter(one, `Bearer ${ci.token}`)).toMatchObject({ subject: 'ci' })
  })
})
