// Signing in with a browser at two managers of one catalog, by an issuer that does its part; sign-in-faults.test.ts has
// the one that does not.
import type { AuditList, Identity, LoggedOut } from '@fleetshard/core/contract'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMemoryBackend } from '../../catalog/backends/memory/mod.ts'
import { keys, type CatalogStore } from '../../catalog/mod.ts'
import { systemClock } from '../../runtime/mod.ts'
import { openBrowser, startIssuer, type TestBrowser, type TestIssuer } from '../../security/testing-issuer.ts'
import { sessionsOfOneMax } from './sign-in.ts'
import { waitFor } from './testing/managers.ts'
import { adminToken, publicOrigin, startSignInFleet, type SignInFleet } from './testing/sign-in-fleet.ts'

let issuer: TestIssuer
let store: CatalogStore
let fleet: SignInFleet
let browser: TestBrowser

beforeEach(async () => {
  issuer = await startIssuer()
  store = createMemoryBackend({ clock: systemClock }).open()
  fleet = await startSignInFleet({ store, issuer })
  browser = openBrowser()
})
afterEach(async () => {
  await fleet[Symbol.asyncDispose]()
  await issuer[Symbol.asyncDispose]()
})

const own = { origin: publicOrigin, 'sec-fetch-site': 'same-origin' }

async function meAt(url: string, one = browser): Promise<Identity> {
  const { status, text } = await one.send(`${url}/auth/me`)
  expect(status, text).toBe(200)
  return JSON.parse(text) as Identity
}

const auditOf = async (): Promise<AuditList['records']> => {
  const headers = { authorization: `Bearer ${adminToken}` }
  const { body } = await fleet.one.send('GET', '/api/v1/audit?limit=1000', undefined, headers)
  return (body as unknown as AuditList).records
}

/** A request of a page of ours. */
const post = (url: string, path: string, body: unknown, headers: Record<string, string> = own) =>
  fetch(url + path, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: {
      'content-type': 'application/json',
      cookie: [...browser.cookies].map(([name, value]) => `${name}=${value}`).join('; '),
      ...headers,
    },
  })

describe('signing in', () => {
  it('begins at one manager, ends at the other, and counts at both', async () => {
    const answer = await browser.signIn(fleet.one.url, fleet.two.url, '/shards?status=active#top')
    expect([answer.status, answer.location]).toEqual([302, '/shards?status=active#top'])
    expect(answer.headers.get('cache-control')).toBe('no-store')
    for (const { url } of [fleet.one, fleet.two]) {
      const me = await meAt(url)
      expect(me).toMatchObject({
        kind: 'session',
        subject: 'alice',
        name: 'Alice',
        role: 'admin',
        grants: {},
      })
      expect(Date.parse(me.expires_at ?? '')).toBeGreaterThan(systemClock.now())
      expect((await browser.send(`${url}/api/v1/tokens`)).status).toBe(200)
    }
  })

  it('gives cookies that no script reads, no other host sets, and that end by themselves', async () => {
    await browser.signIn(fleet.one.url, fleet.one.url)
    expect(browser.setCookies).toEqual([
      expect.stringMatching(
        /^__Host-fleetshard_login=\S+; Max-Age=600; Path=\/; HttpOnly; SameSite=Lax; Secure$/,
      ),
      expect.stringMatching(
        /^__Host-fleetshard_session=fss_\S+; Max-Age=60; Path=\/; HttpOnly; SameSite=Lax; Secure$/,
      ),
      '__Host-fleetshard_login=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure',
    ])
  })

  it('makes a change at a manager that does not lead, which is the change of its person', async () => {
    await browser.signIn(fleet.two.url, fleet.two.url)
    expect(fleet.two.manager.isLeader()).toBe(false)
    const made = await post(fleet.two.url, '/api/v1/keyspaces', { name: 'app' })
    expect(made.status, await made.text()).toBe(201)
    const record = (await auditOf()).find(
      ({ what, phase }) => what === 'keyspace.create' && phase === 'ended',
    )
    expect(record?.who).toEqual({ kind: 'session', subject: 'alice', role: 'admin' })
    expect(record?.from).toContain('forwarded by manager-two')
  })

  it.each([
    [['staff'], 'viewer'],
    [['staff', 'sre', 'other'], 'operator'],
    ['sre', 'operator'],
  ])('gives for the groups %j the role %s, and no more', async (groups, role) => {
    issuer.person = { sub: 'bob', groups }
    await browser.signIn(fleet.one.url, fleet.one.url)
    expect(await meAt(fleet.one.url)).toMatchObject({ subject: 'bob', name: null, role })
    expect((await browser.send(`${fleet.one.url}/api/v1/tokens`)).status).toBe(403)
    const change = await post(fleet.one.url, '/api/v1/keyspaces', { name: 'app' })
    expect(change.status).toBe(role === 'operator' ? 201 : 403)
  })

  it('goes on after the issuer has changed its keys', async () => {
    await browser.signIn(fleet.one.url, fleet.one.url)
    await issuer.rotateKey()
    const other = openBrowser()
    expect((await other.signIn(fleet.one.url, fleet.one.url)).status).toBe(302)
    expect(await meAt(fleet.one.url, other)).toMatchObject({ subject: 'alice' })
    // Who was in stays in.
    expect(await meAt(fleet.one.url)).toMatchObject({ subject: 'alice' })
    expect(issuer.asked('metadata')).toBe(1)
  })

  it('is in the audit log, by whom and as what', async () => {
    await browser.signIn(fleet.one.url, fleet.one.url)
    const [ended, begun] = await auditOf()
    const who = { kind: 'session', subject: 'alice', role: 'admin' }
    expect(begun).toMatchObject({ phase: 'begun', what: 'session.begin', target: 'alice', who })
    expect(ended).toMatchObject({ phase: 'ended', outcome: 'ok', from: '127.0.0.1', change: begun?.change })
    expect(ended?.after).toMatchObject({ subject: 'alice', name: 'Alice', role: 'admin' })
  })

  it('leaves no code, token or cookie in the catalog, the log or the audit log', async () => {
    await browser.signIn(fleet.one.url, fleet.two.url)
    issuer.faults = { claims: { aud: 'billing' } }
    expect((await openBrowser().signIn(fleet.one.url, fleet.two.url)).status).toBe(401)
    const { entries } = await store.read(keys.all)
    const seen = JSON.stringify(entries) + fleet.log()
    expect(seen).toContain('session.begin')
    const cookies = browser.setCookies
      .map((line) => /=([^;]*)/.exec(line)?.[1] ?? '')
      .filter((one) => one !== '')
    expect(issuer.given.length).toBe(6)
    for (const secret of [...issuer.given, ...cookies, ...cookies.map((one) => one.slice(-20))])
      expect(seen).not.toContain(secret)
  })
})

describe('a session', () => {
  it('ends at all managers with logout, which tells where the issuer ends its own', async () => {
    await browser.signIn(fleet.one.url, fleet.two.url)
    const kept = new Map(browser.cookies)
    const { status, text } = await browser.send(`${fleet.one.url}/auth/logout`, {
      method: 'POST',
      headers: own,
    })
    expect([status, browser.cookies.size]).toEqual([200, 0])
    const { issuer_logout_url: url } = JSON.parse(text) as LoggedOut
    const asked = new URL(url ?? '')
    expect(asked.origin + asked.pathname).toBe(`${issuer.url}/logout`)
    expect(Object.fromEntries(asked.searchParams)).toEqual({
      client_id: 'fleetshard-console',
      post_logout_redirect_uri: `${publicOrigin}/`,
    })
    for (const [name, value] of kept) browser.cookies.set(name, value)
    for (const { url: at } of [fleet.one, fleet.two])
      await expect.poll(async () => (await browser.send(`${at}/auth/me`)).status).toBe(401)
    const [ended] = await auditOf()
    expect(ended).toMatchObject({ what: 'session.end', target: 'alice', outcome: 'ok' })
  })

  it('has no page of the issuer to sign out at where the issuer has none', async () => {
    issuer.faults = { metadata: { end_session_endpoint: undefined } }
    await browser.signIn(fleet.one.url, fleet.one.url)
    const { text } = await browser.send(`${fleet.one.url}/auth/logout`, { method: 'POST', headers: own })
    expect(JSON.parse(text)).toEqual({ issuer_logout_url: null })
  })

  it('is over when its time is, and makes room for others then', async () => {
    await using short = await startSignInFleet({
      store: createMemoryBackend({ clock: systemClock }).open(),
      issuer,
      sessionMs: 1_000,
    })
    await browser.signIn(short.one.url, short.one.url)
    expect((await browser.send(`${short.two.url}/auth/me`)).status).toBe(200)
    await waitFor(async () => (await browser.send(`${short.two.url}/auth/me`)).status === 401)
    await openBrowser().signIn(short.one.url, short.one.url)
    const { entries } = await short.one.catalog.store.read(keys.sessions)
    expect(entries.length).toBe(1)
  })

  it('of one person too many ends his oldest', async () => {
    const browsers = []
    for (let index = 0; index <= sessionsOfOneMax; index += 1) {
      const next = openBrowser()
      expect((await next.signIn(fleet.one.url, fleet.one.url)).status).toBe(302)
      browsers.push(next)
    }
    const [oldest, second] = browsers
    await expect.poll(async () => (await oldest!.send(`${fleet.one.url}/auth/me`)).status).toBe(401)
    expect((await second!.send(`${fleet.one.url}/auth/me`)).status).toBe(200)
  })

  it('goes on while the issuer is away', async () => {
    await browser.signIn(fleet.one.url, fleet.one.url)
    issuer.faults = { answers: { metadata: { status: 500, body: '' }, token: { status: 500, body: '' } } }
    expect(await meAt(fleet.two.url)).toMatchObject({ subject: 'alice' })
  })

  it('is not one that somebody makes up, nor one with another secret', async () => {
    await browser.signIn(fleet.one.url, fleet.one.url)
    const name = '__Host-fleetshard_session'
    const real = browser.cookies.get(name)!
    for (const value of [
      'x',
      `${real}x`,
      real.slice(0, -1) + (real.endsWith('A') ? 'B' : 'A'),
      `fss_0123456789abcdef_${real.slice(-43)}`,
      real.replace('fss_', 'fst_'),
      '',
    ]) {
      browser.cookies.set(name, value)
      expect((await browser.send(`${fleet.one.url}/auth/me`)).status, value).toBe(401)
    }
    // A session is no token.
    const headers = { authorization: `Bearer ${real}` }
    browser.cookies.clear()
    expect((await browser.send(`${fleet.one.url}/auth/me`, { headers })).status).toBe(401)
  })
})

describe('changes by cookie', () => {
  const foreign: Readonly<Record<string, Record<string, string>>> = {
    'another site': { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
    'another site, by its origin alone': { origin: 'https://evil.example' },
    'a neighbour of our host': { origin: 'https://evil.fleet.example', 'sec-fetch-site': 'same-site' },
    'a page by http': { origin: 'http://fleet.example' },
    'a page without origin': { origin: 'null' },
    'a page that hides where it comes from': { 'sec-fetch-site': 'cross-site' },
    'nowhere known': {},
    'an address bar': { 'sec-fetch-site': 'none' },
  }
  it.each(Object.entries(foreign))('are refused from %s, and nothing is changed', async (_what, headers) => {
    await browser.signIn(fleet.one.url, fleet.one.url)
    for (const { url } of [fleet.one, fleet.two]) {
      const answer = await post(url, '/api/v1/keyspaces', { name: 'app' }, headers)
      expect([answer.status, await answer.json()]).toMatchObject([403, { code: 'forbidden' }])
      expect((await browser.send(`${url}/auth/logout`, { method: 'POST', headers })).status).toBe(403)
    }
    expect((await browser.send(`${fleet.one.url}/api/v1/keyspaces/app`)).status).toBe(404)
    expect(await meAt(fleet.one.url)).toMatchObject({ subject: 'alice' })
    expect(
      (await auditOf()).some(({ phase, outcome }) => phase === 'refused' && outcome === 'forbidden'),
    ).toBe(true)
  })

  it.each([{ origin: publicOrigin }, { 'sec-fetch-site': 'same-origin' }, own])(
    'are made from our own pages: %j',
    async (headers) => {
      await browser.signIn(fleet.one.url, fleet.one.url)
      expect((await post(fleet.two.url, '/api/v1/keyspaces', { name: 'app' }, { ...headers })).status).toBe(
        201,
      )
    },
  )

  it('by token want no page, whatever cookies come along', async () => {
    await browser.signIn(fleet.one.url, fleet.one.url)
    const headers = { authorization: `Bearer ${adminToken}` }
    expect((await post(fleet.two.url, '/api/v1/keyspaces', { name: 'app' }, headers)).status).toBe(201)
  })
})

describe('/auth/me', () => {
  it('tells those with a token who they are, and nobody else', async () => {
    const asked = await fleet.one.send('GET', '/auth/me', undefined, {
      authorization: `Bearer ${adminToken}`,
    })
    expect(asked.body).toEqual({
      kind: 'admin',
      subject: 'admin',
      name: null,
      role: 'admin',
      grants: {},
      expires_at: null,
    })
    expect((await fleet.one.send('GET', '/auth/me')).status).toBe(401)
  })

  it('knows no session of those who have a token: there is none to end', async () => {
    const headers = { authorization: `Bearer ${adminToken}` }
    const { status, body } = await fleet.one.send('POST', '/auth/logout', undefined, headers)
    expect([status, body.code]).toEqual([400, 'invalid_request'])
  })
})
