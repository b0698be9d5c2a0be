// Signing in where something is wrong: an issuer that is down, slow, talks nonsense or vouches for others; browsers that
// come back with what is not theirs; addresses that lead elsewhere.
import type { AuditList } from '@fleetshard/core/contract'
import { exportJWK, exportSPKI, generateKeyPair, importJWK, SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createMemoryBackend } from '../../catalog/backends/memory/mod.ts'
import { systemClock } from '../../runtime/mod.ts'
import {
  openBrowser,
  startIssuer,
  testClient,
  type BrowserAnswer,
  type IssuerFaults,
  type TestBrowser,
  type TestIssuer,
} from '../../security/testing-issuer.ts'
import type { Envelope } from '../../security/mod.ts'
import { loginMsMax } from './sign-in.ts'
import { startManager } from './testing/managers.ts'
import { adminToken, startSignInFleet, type SignInFleet } from './testing/sign-in-fleet.ts'
import { simulate } from './testing/simulated-engine.ts'

let issuer: TestIssuer
let fleet: SignInFleet
let browser: TestBrowser

beforeAll(async () => {
  issuer = await startIssuer()
  fleet = await startSignInFleet({ store: createMemoryBackend({ clock: systemClock }).open(), issuer })
})
afterAll(async () => {
  await fleet[Symbol.asyncDispose]()
  await issuer[Symbol.asyncDispose]()
})
beforeEach(() => {
  browser = openBrowser()
})
const person = { sub: 'alice', groups: ['fleet-admins'] }
afterEach(() => {
  issuer.faults = {}
  issuer.person = person
})

interface Problem {
  readonly code: string
  readonly detail: string
  readonly hint?: string
  readonly retryable: boolean
}

/** A refusal: no session, and nothing that the issuer has given out. */
function refusal(answer: BrowserAnswer): Problem & { readonly status: number } {
  for (const secret of [...issuer.given, testClient.secret]) expect(answer.text).not.toContain(secret)
  expect(answer.text).not.toContain('<script>')
  expect([...browser.cookies.keys()]).not.toContain('__Host-fleetshard_session')
  return { status: answer.status, ...(JSON.parse(answer.text) as Problem) }
}

const signIn = (): Promise<BrowserAnswer> => browser.signIn(fleet.one.url, fleet.two.url)

/** Text of a part of a token. */
const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const nowSeconds = (): number => Math.floor(systemClock.now() / 1000)

describe('an identity token that is not right', () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
  const wrong: Readonly<Record<string, readonly [() => IssuerFaults, string]>> = {
    'for another audience': [() => ({ claims: { aud: 'billing' } }), 'claim aud'],
    'for others as well, by another party': [
      () => ({ claims: { aud: [testClient.id, 'billing'], azp: 'billing' } }),
      'claim azp',
    ],
    'of another issuer': [() => ({ claims: { iss: 'https://evil.example' } }), 'claim iss'],
    'that has expired': [() => ({ claims: { exp: nowSeconds() - 60 } }), 'claim exp'],
    'that never expires': [() => ({ claims: { exp: undefined } }), 'not valid'],
    'that is not valid yet': [() => ({ claims: { nbf: nowSeconds() + 600 } }), 'claim nbf'],
    'of another login': [() => ({ claims: { nonce: 'another' } }), 'claim nonce'],
    'of no login': [() => ({ claims: { nonce: undefined } }), 'not valid'],
    'of nobody': [() => ({ claims: { sub: undefined } }), 'not valid'],
    'of somebody without name': [() => ({ claims: { sub: '' } }), 'names nobody'],
    'of somebody with an endless name': [() => ({ claims: { sub: 'x'.repeat(300) } }), 'names nobody'],
    'without algorithm': [
      () => ({ sign: (claims) => Promise.resolve(`${part({ alg: 'none' })}.${part(claims)}.`) }),
      'not valid',
    ],
    'without algorithm, of an issuer that says it does so': [
      () => ({
        metadata: { id_token_signing_alg_values_supported: ['none', 'ES256'] },
        sign: (claims) => Promise.resolve(`${part({ alg: 'none' })}.${part(claims)}.`),
      }),
      'algorithm',
    ],
    'by the public key as a shared secret': [
      () => ({
        metadata: { id_token_signing_alg_values_supported: ['HS256', 'ES256'] },
        sign: async (claims) => {
          const key = await importJWK({ ...issuer.publicKey(), ext: true }, 'ES256')
          if (key instanceof Uint8Array) throw new Error('it is a public key')
          return new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(bytes(await exportSPKI(key)))
        },
      }),
      'algorithm',
    ],
    'by the secret of the client': [
      () => ({
        metadata: { id_token_signing_alg_values_supported: ['HS256', 'ES256'] },
        sign: (claims) =>
          new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(bytes(testClient.secret)),
      }),
      'algorithm',
    ],
    'by a key of somebody else that it brings along': [
      () => ({
        sign: async (claims) => {
          const { privateKey, publicKey } = await generateKeyPair('ES256')
          const { kid } = issuer.publicKey()
          const header = {
            alg: 'ES256',
            jwk: await exportJWK(publicKey),
            ...(kid === undefined ? {} : { kid }),
          }
          return new SignJWT(claims).setProtectedHeader(header).sign(privateKey)
        },
      }),
      'not valid',
    ],
    'by a key that nobody has published': [() => ({ hidesKey: true }), 'key of the identity token'],
    'with other claims under a good signature': [
      () => ({
        sign: async (claims) => {
          const [header, , signature] = (await issuer.sign(claims)).split('.')
          return `${header!}.${part({ ...claims, groups: ['fleet-admins'], sub: 'root' })}.${signature!}`
        },
      }),
      'not valid',
    ],
    'that is none': [() => ({ sign: () => Promise.resolve('no-token-at-all') }), 'not valid'],
  }
  it.each(Object.entries(wrong))('%s lets nobody in', async (_what, [faults, told]) => {
    // Read anew with each fault, since an issuer's metadata is kept for a while.
    await using other = await startSignInFleet({
      store: createMemoryBackend({ clock: systemClock }).open(),
      issuer,
    })
    issuer.faults = faults()
    const answer = refusal(await browser.signIn(other.one.url, other.one.url))
    expect(answer).toMatchObject({ status: 401, code: 'sign_in_failed', retryable: false })
    expect(answer.detail).toContain(told)
    issuer.faults = {}
    expect((await browser.signIn(other.one.url, other.one.url)).status).toBe(302)
  })
})

describe('an issuer that does not do its part', () => {
  const answers: Readonly<Record<string, readonly [IssuerFaults, string]>> = {
    'has no token for us': [{ answers: { token: { status: 500, body: '{}' } } }, 'unexpected status'],
    'has an error of its own': [
      {
        answers: { token: { status: 400, body: '{"error":"server_error","error_description":"<script>"}' } },
      },
      'server_error',
    ],
    'has an error that is no word': [
      { answers: { token: { status: 400, body: '{"error":"<script>alert(1)</script>"}' } } },
      'no code',
    ],
    'does not know us': [
      { answers: { token: { status: 400, body: '{"error":"invalid_client"}' } } },
      'client id',
    ],
    'answers by a page': [
      { answers: { token: { status: 200, type: 'text/html', body: '<h1>Welcome</h1>' } } },
      'not what it should be',
    ],
    'answers nonsense': [{ answers: { token: { status: 200, body: '{"access' } } }, 'not what it should be'],
    'answers without end': [
      { answers: { token: { status: 200, body: `"${'x'.repeat(300_000)}"` } } },
      'more than 262144 bytes',
    ],
    'sends us elsewhere': [{ answers: { token: { status: 307, body: '' } } }, 'unexpected status'],
    'has no keys': [{ answers: { keys: { status: 404, body: '' } } }, 'unexpected status'],
  }
  it.each(Object.entries(answers))(
    '%s: it says so, and the next login works',
    async (_what, [faults, told]) => {
      const callback = await browser.toIssuer(fleet.one.url)
      issuer.faults = faults
      const answer = refusal(await browser.send(fleet.two.url + callback))
      expect(answer).toMatchObject({ status: 503, code: 'identity_unavailable', retryable: true })
      expect(answer.detail).toContain(told)
      issuer.faults = {}
      expect((await signIn()).status).toBe(302)
    },
  )

  it('answers with a token response that has no identity: it says so', async () => {
    const callback = await browser.toIssuer(fleet.one.url)
    const body = JSON.stringify({ access_token: 'a', token_type: 'Bearer' })
    issuer.faults = { answers: { token: { status: 200, body } } }
    const answer = refusal(await browser.send(fleet.two.url + callback))
    expect(answer).toMatchObject({ status: 401, code: 'sign_in_failed' })
  })

  it('is slow: nobody waits for longer than its time', async () => {
    const callback = await browser.toIssuer(fleet.one.url)
    issuer.faults = { answers: { token: 'silent' } }
    const answer = refusal(await browser.send(fleet.one.url + callback))
    expect(answer).toMatchObject({ status: 503, code: 'identity_unavailable' })
    expect(answer.detail).toContain('within 5 s')
  })

  const metadata: Readonly<Record<string, readonly [IssuerFaults, string]>> = {
    'is down': [{ answers: { metadata: { status: 503, body: '' } } }, 'unexpected status'],
    'answers nonsense': [{ answers: { metadata: { status: 200, body: '[' } } }, 'not what it should be'],
    'is another one': [{ metadata: { issuer: 'https://evil.example' } }, 'metadata is not valid'],
    'has no page to sign in': [{ metadata: { authorization_endpoint: undefined } }, 'authorization_endpoint'],
    'has a page that is none': [
      { metadata: { authorization_endpoint: 'javascript:alert(1)' } },
      'authorization_endpoint',
    ],
    'has keys that come by http from afar': [
      { metadata: { jwks_uri: 'http://issuer.example/keys' } },
      'jwks_uri',
    ],
    'signs out by http from afar': [
      { metadata: { end_session_endpoint: 'http://issuer.example/' } },
      'end_session_endpoint',
    ],
  }
  it.each(Object.entries(metadata))(
    '%s before somebody signs in: it says so',
    async (_what, [faults, told]) => {
      await using other = await startSignInFleet({
        store: createMemoryBackend({ clock: systemClock }).open(),
        issuer,
      })
      issuer.faults = faults
      const answer = refusal(await browser.send(`${other.one.url}/auth/login`))
      expect(answer).toMatchObject({ status: 503, code: 'identity_unavailable' })
      expect(answer.detail).toContain(told)
      issuer.faults = {}
      expect((await browser.signIn(other.one.url, other.one.url)).status).toBe(302)
    },
  )

  it('is gone: it says so', async () => {
    const gone = await startIssuer()
    await gone[Symbol.asyncDispose]()
    await using other = await startSignInFleet({
      store: createMemoryBackend({ clock: systemClock }).open(),
      issuer: gone,
    })
    const answer = refusal(await browser.send(`${other.one.url}/auth/login`))
    expect(answer).toMatchObject({ status: 503, code: 'identity_unavailable' })
    expect(answer.detail).toContain('cannot be reached')
  })

  it('has another secret for us: the operator is told which settings to look at', async () => {
    await using other = await startSignInFleet({
      store: createMemoryBackend({ clock: systemClock }).open(),
      issuer,
      clientSecret: 'another secret',
    })
    const answer = refusal(await browser.signIn(other.one.url, other.one.url))
    expect(answer).toMatchObject({ status: 503, code: 'identity_unavailable' })
    expect(answer.detail).toContain('auth.oidc-client-secret')
  })
})

describe('a browser that comes back with what is not its own', () => {
  it.each([
    ['another state', (path: string) => path.replace(/state=[^&]*/, 'state=mine')],
    ['no state', (path: string) => path.replace(/state=[^&]*&?/, '')],
    ['no code', (path: string) => path.replace(/code=[^&]*&?/, '')],
    ['another code', (path: string) => path.replace(/code=[^&]*/, 'code=mine')],
  ])('%s is not let in', async (_what, change) => {
    const callback = await browser.toIssuer(fleet.one.url)
    const answer = refusal(await browser.send(fleet.one.url + change(callback)))
    expect(answer).toMatchObject({ status: 401, code: 'sign_in_failed' })
  })

  it('the answer to another browser is not let in: its login was begun elsewhere', async () => {
    const victims = await browser.toIssuer(fleet.one.url)
    const thief = openBrowser()
    expect((await thief.send(fleet.one.url + victims)).status).toBe(401)
    await thief.toIssuer(fleet.one.url)
    expect((await thief.send(fleet.one.url + victims)).status).toBe(401)
    expect((await browser.send(fleet.one.url + victims)).status).toBe(302)
  })

  it('a code that was used already lets nobody in, though the cookie is there again', async () => {
    const callback = await browser.toIssuer(fleet.one.url)
    const kept = new Map(browser.cookies)
    expect((await browser.send(fleet.one.url + callback)).status).toBe(302)
    browser.cookies.clear()
    expect(refusal(await browser.send(fleet.one.url + callback)).detail).toContain(
      'not begun in this browser',
    )
    for (const [name, value] of kept) browser.cookies.set(name, value)
    const answer = refusal(await browser.send(fleet.one.url + callback))
    expect(answer.detail).toContain('was used already')
  })

  it('a cookie that was changed, or that somebody has made, is none', async () => {
    const callback = await browser.toIssuer(fleet.one.url)
    const name = '__Host-fleetshard_login'
    const real = browser.cookies.get(name)!
    const envelope = JSON.parse(Buffer.from(real, 'base64url').toString()) as { data: string; key: string }
    const turned = { ...envelope, data: Buffer.from(envelope.data, 'base64').reverse().toString('base64') }
    const foreign = { ...envelope, key: 'ffffffffffff' }
    const plain = { state: 'mine', nonce: 'mine', verifier: 'mine', returnTo: '/', untilMs: 9e15 }
    for (const value of [
      part(turned),
      part(foreign),
      part(plain),
      part({ sealed: plain }),
      'x',
      `${real}eA`,
      '',
    ]) {
      browser.cookies.set(name, value)
      expect(refusal(await browser.send(fleet.one.url + callback))).toMatchObject({
        status: 401,
        code: 'sign_in_failed',
      })
    }
  })

  it('a login that took too long is over, though the browser has kept its cookie', async () => {
    const callback = await browser.toIssuer(fleet.one.url)
    const name = '__Host-fleetshard_login'
    const sealed = JSON.parse(Buffer.from(browser.cookies.get(name)!, 'base64url').toString()) as Envelope
    const login = JSON.parse(await fleet.sealer.open('login of a browser', sealed)) as { untilMs: number }
    expect(login.untilMs - systemClock.now()).toBeLessThanOrEqual(loginMsMax)
    const old = { ...login, untilMs: systemClock.now() }
    browser.cookies.set(name, part(await fleet.sealer.seal('login of a browser', JSON.stringify(old))))
    expect(refusal(await browser.send(fleet.one.url + callback)).detail).toContain('took too long')
    browser.cookies.set(name, part(await fleet.sealer.seal('login of a browser', JSON.stringify(login))))
    expect((await browser.send(fleet.one.url + callback)).status).toBe(302)
  })

  it('a refusal of the issuer is told by its code, without its text', async () => {
    issuer.faults = { refusal: 'access_denied' }
    const answer = refusal(await signIn())
    expect(answer).toMatchObject({ status: 401, code: 'sign_in_failed' })
    expect(answer.detail).toContain('access_denied')
    issuer.faults = { refusal: '<script>' }
    expect(refusal(await signIn()).detail).toContain('no code')
  })

  it('is written down without what it came with', async () => {
    const callback = await browser.toIssuer(fleet.one.url)
    await browser.send(fleet.one.url + callback.replace(/state=[^&]*/, 'state=mine'))
    const headers = { authorization: `Bearer ${adminToken}` }
    const { body } = await fleet.one.send('GET', '/api/v1/audit?limit=1', undefined, headers)
    const [record] = (body as unknown as AuditList).records
    expect(record).toMatchObject({
      phase: 'refused',
      what: 'GET /auth/callback',
      target: '/auth/callback',
      who: { kind: 'session', subject: 'unknown', role: null },
      outcome: 'sign_in_failed',
    })
    const seen = fleet.log() + JSON.stringify(record)
    for (const secret of issuer.given) expect(seen).not.toContain(secret)
  })
})

describe('somebody without a role', () => {
  it.each([
    [{ sub: 'carol', groups: ['others', 'admin'] }, 'no value of the claim groups gives one (it has 2)'],
    [{ sub: 'carol', groups: [] }, 'no value of the claim groups gives one (it has 0)'],
    [{ sub: 'carol', groups: { 'fleet-admins': true } }, 'has no claim groups'],
    [
      { sub: 'carol', groups: [['fleet-admins'], 7, null] },
      'no value of the claim groups gives one (it has 0)',
    ],
    [{ sub: 'carol' }, 'has no claim groups'],
  ])('is not let in, and told which claim was looked at: %j', async (carol, told) => {
    issuer.person = carol
    const answer = refusal(await signIn())
    expect(answer).toMatchObject({ status: 403, code: 'forbidden' })
    expect(answer.detail).toContain(`carol has no role here: `)
    expect(answer.detail).toContain(told)
    expect(answer.hint).toContain('auth.oidc-roles')
  })

  it.each([
    [
      { claim: 'realm_access.roles', roles: 'ops=operator' },
      { realm_access: { roles: ['ops'] } },
      'operator',
    ],
    [
      { claim: 'https://a.example/roles', roles: 'ops=operator' },
      { 'https://a.example/roles': 'ops' },
      'operator',
    ],
    [{ roles: 'CN=Ops%2C OU=IT=admin' }, { groups: ['CN=Ops, OU=IT'] }, 'admin'],
    [{ roles: null, defaultRole: 'viewer' as const }, {}, 'viewer'],
    [{ roles: 'ops=operator', defaultRole: 'viewer' as const }, { groups: ['ops'] }, 'operator'],
    [{ roles: 'ops=viewer', claim: 'constructor.name', defaultRole: 'viewer' as const }, {}, 'viewer'],
  ])('has one by the settings %j', async (oidc, claims, role) => {
    const store = createMemoryBackend({ clock: systemClock }).open()
    await using other = await startSignInFleet({ store, issuer, oidc })
    issuer.person = { sub: 'dave', ...claims }
    await browser.signIn(other.one.url, other.one.url)
    const { text } = await browser.send(`${other.one.url}/auth/me`)
    expect(JSON.parse(text)).toMatchObject({ subject: 'dave', role })
  })
})

describe('where to go on', () => {
  it.each([
    'https://evil.example',
    '//evil.example',
    '/\\evil.example',
    '\\\\evil.example',
    '/%09/evil.example/../..//evil.example',
    '/\t/evil.example',
    '/ok\r\nset-cookie: a=b',
    'javascript:alert(1)',
    'evil.example',
    '',
    '/a\\b',
    '/..//evil.example',
    '/ä',
    `/${'x'.repeat(2000)}`,
  ])('is never elsewhere: %j', async (path) => {
    const answer = await browser.send(`${fleet.one.url}/auth/login?return_to=${encodeURIComponent(path)}`)
    expect([answer.status, answer.location]).toEqual([400, null])
    expect(browser.cookies.size).toBe(0)
  })

  it.each(['/', '/shards/a?x=1&y=%2F#z', '/a//b'])('is a path of ours: %j', async (path) => {
    expect((await browser.signIn(fleet.one.url, fleet.two.url, path)).location).toBe(path)
  })
})

it('too many failures of an address make it wait, and sessions go on', async () => {
  const store = createMemoryBackend({ clock: systemClock }).open()
  await using limited = await startSignInFleet({ store, issuer, failuresPerMinute: 3 })
  await browser.signIn(limited.one.url, limited.one.url)
  const thief = openBrowser()
  const statuses = []
  for (let index = 0; index < 5; index += 1)
    statuses.push((await thief.send(`${limited.one.url}/auth/callback?code=x&state=y`)).status)
  expect(statuses).toEqual([401, 401, 401, 429, 429])
  const login = await thief.send(`${limited.one.url}/auth/login`)
  expect([login.status, Number(login.headers.get('retry-after')) > 0]).toEqual([429, true])
  expect((await browser.send(`${limited.one.url}/auth/me`)).status).toBe(200)
  // Guesses of sessions count with those of tokens.
  thief.cookies.set('__Host-fleetshard_session', `fss_0123456789abcdef_${'A'.repeat(43)}`)
  const guesses = []
  for (let index = 0; index < 4; index += 1)
    guesses.push((await thief.send(`${limited.one.url}/auth/me`)).status)
  expect(guesses).toEqual([401, 401, 401, 429])
  expect((await browser.send(`${limited.one.url}/auth/me`)).status).toBe(200)
})

it('without an issuer nobody signs in, and /auth/me tells that everybody is let in', async () => {
  const store = createMemoryBackend({ clock: systemClock }).open()
  await using open = await startManager({ store, engine: simulate().engine })
  for (const [method, path] of [
    ['GET', '/auth/login'],
    ['GET', '/auth/callback?code=a&state=b'],
    ['POST', '/auth/logout'],
  ] as const) {
    const { status, body } = await open.send(method, path)
    expect([status, body.code]).toEqual([404, 'not_found'])
    expect(body.hint).toContain('auth.oidc-issuer')
  }
  const { body } = await open.send('GET', '/auth/me')
  expect(body).toMatchObject({ kind: 'anonymous', role: 'admin', expires_at: null })
})
