import type { IncomingMessage } from 'node:http'
import { beforeEach, describe, expect, it } from 'vitest'
import type { SessionRecord } from '@fleetshard/core'
import { manualClock, type ManualClock } from '../runtime/testing/manual-clock.ts'
import { makeToken, type MadeToken } from './api-token.ts'
import { createAuthenticator, type Authenticator } from './authenticator.ts'
import { createCookies, createSessionCheck } from './browser-session.ts'

const publicOrigin = 'https://fleet.example'
const lifeMs = 1_000
let clock: ManualClock
let made: MadeToken
/** What the live copy shows, and what the catalog has. */
let shown: Map<string, SessionRecord>
let stored: Map<string, SessionRecord>
let reads: number
let one: Authenticator

const recordOf = ({ id, digest }: MadeToken): SessionRecord => ({
  id,
  digest,
  subject: 'alice',
  name: null,
  role: 'operator',
  createdAt: new Date(clock.now()).toISOString(),
  expiresAt: new Date(clock.now() + lifeMs).toISOString(),
  version: 1,
})

beforeEach(() => {
  clock = manualClock()
  made = makeToken('session')
  stored = new Map([[made.id, recordOf(made)]])
  shown = new Map(stored)
  reads = 0
  one = createAuthenticator({
    clock,
    isRequired: true,
    onlyOwnHost: false,
    adminToken: null,
    tokens: () => new Map(),
    jwt: null,
    sessions: createSessionCheck({
      clock,
      publicOrigin,
      sessions: () => shown,
      read: (id) => {
        reads += 1
        return Promise.resolve(stored.get(id) ?? null)
      },
    }),
    failuresPerMinute: 2,
    requestsPerSecond: 0,
  })
})

const request = (value: string, method = 'GET', more: object = {}): IncomingMessage =>
  ({
    method,
    headers: { cookie: `a=b; __Host-fleetshard_session=${value}; c=d`, ...more },
    socket: { remoteAddress: '10.0.0.1' },
  }) as unknown as IncomingMessage

const enter = async (value: string, method?: string, more?: object) => one.enter(request(value, method, more))
const alice = { subject: 'alice', kind: 'session', role: 'operator', grants: new Map() }

describe('a session', () => {
  it('is known by the live copy at once, without a look into the catalog', () => {
    expect(one.enter(request(made.token))).toEqual(alice)
    expect(reads).toBe(0)
  })

  it('that another manager has just made is looked for in the catalog', async () => {
    shown.clear()
    expect(await enter(made.token)).toEqual(alice)
    expect(reads).toBe(1)
  })

  it('that has ended, or is over, is known by nobody', async () => {
    clock.advance(lifeMs - 1)
    expect(await enter(made.token)).toEqual(alice)
    clock.advance(1)
    await expect(enter(made.token)).rejects.toMatchObject({ code: 'unauthenticated' })
    clock.advance(60_000)
    shown.clear()
    stored.clear()
    await expect(enter(made.token)).rejects.toMatchObject({ code: 'unauthenticated' })
  })

  it('cannot be guessed often, and guesses beyond that do not reach the catalog', async () => {
    const guess = `fss_${made.id}_${'A'.repeat(43)}`
    for (const code of ['unauthenticated', 'unauthenticated', 'rate_limited', 'rate_limited'])
      await expect(enter(guess)).rejects.toMatchObject({ code })
    expect(reads).toBe(2)
    expect(await enter(made.token)).toEqual(alice)
  })

  it('is not asked for where a token is sent', async () => {
    await expect(enter(made.token, 'GET', { authorization: 'Bearer x' })).rejects.toMatchObject({
      code: 'unauthenticated',
    })
  })

  it('under another name is none', async () => {
    const { cookie } = request(made.token).headers
    const renamed = { cookie: cookie?.replace('__Host-', '') }
    expect(await enter(made.token, 'GET', renamed)).toMatchObject({ kind: 'anonymous', role: null })
  })

  it('makes changes from our own pages only', async () => {
    for (const method of ['GET', 'HEAD', 'OPTIONS']) expect(await enter(made.token, method)).toEqual(alice)
    for (const method of ['POST', 'PATCH', 'PUT', 'DELETE', 'WHATEVER']) {
      expect(await enter(made.token, method, { origin: publicOrigin })).toEqual(alice)
      await expect(enter(made.token, method), method).rejects.toMatchObject({ code: 'forbidden' })
      for (const origin of ['https://evil.example', 'https://fleet.example:8443', 'null', ''])
        await expect(
          enter(made.token, method, { origin, 'sec-fetch-site': 'same-origin' }),
        ).rejects.toMatchObject({
          code: 'forbidden',
        })
    }
  })
})

describe('cookies', () => {
  it('are bound to the host under https, and can be tried without', () => {
    expect(createCookies(publicOrigin).setSession('x', 1_500)).toBe(
      '__Host-fleetshard_session=x; Max-Age=1; Path=/; HttpOnly; SameSite=Lax; Secure',
    )
    expect(createCookies('http://localhost:8081').setLogin('x', 0)).toBe(
      'fleetshard_login=x; Max-Age=0; Path=/; HttpOnly; SameSite=Lax',
    )
  })

  it('are told apart, and sent on without those of others', () => {
    const cookies = createCookies('http://localhost:8081')
    const cookie = 'xfleetshard_session=1;fleetshard_session = a=b ; other=2; fleetshard_login="c"'
    expect([cookies.session({ cookie }), cookies.login({ cookie })]).toEqual(['a=b', '"c"'])
    expect(cookies.sessionHeader({ cookie })).toBe('fleetshard_session=a=b')
    for (const none of ['', ';', '=', 'fleetshard_session', 'session=1'])
      expect(cookies.session({ cookie: none })).toBeNull()
    expect(cookies.sessionHeader({})).toBeNull()
  })
})
