// Attacks on people who sign in with a browser, at a fleet started as users start it, with a second manager beside: pages
// that use their cookies, logins slipped in, addresses that lead away, cookies that were stolen or made up.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  openBrowser,
  startIssuer,
  testClient,
  type TestBrowser,
  type TestIssuer,
} from '../../packages/server/src/security/testing-issuer.ts'
import { fleetshard, startFleetshard, type Running } from '../e2e/harness/processes.ts'
import { until } from '../e2e/harness/until.ts'
import { Cluster, temporaryFolder } from '../e2e/harness/cluster.ts'
import { inside } from './fleet.ts'

const origin = 'https://fleet.example'
const own = { origin, 'sec-fetch-site': 'same-origin' }
const sessionCookie = '__Host-fleetshard_session'

let issuer: TestIssuer
let cluster: Cluster
let second: Running
/** The managers: that of `up`, which leads, and another one. */
let leader = ''
let other = ''
let browser: TestBrowser

/** Where a process says that it answers. */
function addressOf(running: Running): string | null {
  const line = running
    .output()
    .err.split('\n')
    .find((one) => one.includes('"manager is ready"'))
  return line === undefined ? null : (JSON.parse(line) as { address: string }).address
}

beforeAll(async () => {
  issuer = await startIssuer()
  const folder = temporaryFolder()
  const secretFile = join(folder, 'client.secret')
  writeFileSync(secretFile, `${testClient.secret}\n`, { mode: 0o600 })
  const words = [
    '--auth=required',
    '--auth-failures-per-minute=0',
    `--auth-oidc-issuer=${issuer.url}`,
    `--auth-oidc-client-id=${testClient.id}`,
    `--auth-oidc-public-url=${origin}`,
    '--auth-oidc-roles=fleet-admins=admin,staff=viewer',
  ]
  const env = { FLEETSHARD_AUTH_OIDC_CLIENT_SECRET: `file:${secretFile}` }
  cluster = new Cluster({ up: [...words, '--shards=1', '--replicas=0'], env }, folder)
  await cluster.start()
  leader = cluster.state.urls.manager
  const more = [
    '--catalog-url',
    cluster.state.catalog.url,
    '--manager-http-port=0',
    '--manager-metrics-port=0',
  ]
  second = startFleetshard(['manager', ...more, ...words], { env: { ...cluster.joinEnvironment, ...env } })
  await until('the second manager is ready', () => addressOf(second) !== null)
  other = addressOf(second) ?? ''
})
afterAll(async () => {
  await (second as Running | undefined)?.[Symbol.asyncDispose]()
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
  await issuer[Symbol.asyncDispose]()
})
beforeEach(() => {
  browser = openBrowser()
})
afterEach(() => {
  issuer.faults = {}
  issuer.person = { sub: 'alice', groups: ['fleet-admins'] }
})

const post = (path: string, headers: Record<string, string>, url = other) =>
  browser.send(url + path, { method: 'POST', headers })
const statusAt = async (url: string): Promise<number> => (await browser.send(`${url}/auth/me`)).status

describe('who signs in', () => {
  it('is let in by both managers, whichever he comes back to, and out by both', async () => {
    expect((await browser.signIn(leader, other)).status).toBe(302)
    expect([await statusAt(leader), await statusAt(other)]).toEqual([200, 200])
    const rotated = await post('/api/v1/secrets/rotation', own)
    expect(rotated.status, rotated.text).toBe(200)
    const stolen = new Map(browser.cookies)
    expect((await post('/auth/logout', own)).status).toBe(200)
    for (const [name, value] of stolen) browser.cookies.set(name, value)
    for (const url of [leader, other]) await expect.poll(() => statusAt(url)).toBe(401)
  })

  it('goes on signing in after the issuer has changed its key', async () => {
    expect((await browser.signIn(other, leader)).status).toBe(302)
    await issuer.rotateKey()
    expect((await openBrowser().signIn(leader, other)).status).toBe(302)
    expect(await statusAt(other)).toBe(200)
  })
})

describe('a page of somebody else', () => {
  it.each([
    [{ origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }],
    [{ origin: 'https://x.fleet.example', 'sec-fetch-site': 'same-site' }],
    [{ origin: 'null' }],
    [{}],
  ])('changes nothing by the cookies of who visits it: %j', async (headers) => {
    await browser.signIn(leader, other)
    for (const url of [leader, other]) {
      for (const path of ['/api/v1/secrets/rotation', '/auth/logout'])
        expect((await post(path, { ...headers } as Record<string, string>, url)).status).toBe(403)
      // Nor where it claims to be a manager that passes a change on.
      const forwarded = { ...headers, 'x-fleetshard-forwarded': 'manager-1' } as Record<string, string>
      expect((await post('/api/v1/secrets/rotation', forwarded, url)).status).toBe(403)
    }
    expect(await statusAt(leader)).toBe(200)
  })

  it('signs nobody in as its owner: the login is bound to the browser that began it', async () => {
    const callback = await openBrowser().toIssuer(leader)
    for (const url of [leader, other]) {
      expect((await browser.send(url + callback)).status).toBe(401)
      await browser.toIssuer(url)
      expect((await browser.send(url + callback)).status).toBe(401)
    }
    expect(browser.cookies.has(sessionCookie)).toBe(false)
  })

  it.each([
    'https://evil.example/',
    '//evil.example',
    '/\\evil.example',
    '/\t/evil.example',
    'javascript:alert(1)',
  ])('is not where somebody goes on after he has signed in: %j', async (path) => {
    const { status, location } = await browser.send(
      `${other}/auth/login?return_to=${encodeURIComponent(path)}`,
    )
    expect([status, location]).toEqual([400, null])
  })
})

describe('somebody who makes things up', () => {
  it('has no session, and the one of a viewer raises nobody', async () => {
    issuer.person = { sub: 'eve', groups: ['staff'] }
    await browser.signIn(leader, other)
    const real = browser.cookies.get(sessionCookie)!
    expect((await post('/api/v1/secrets/rotation', own)).status).toBe(403)
    for (const path of ['/api/v1/tokens', '/api/v1/audit'])
      expect((await browser.send(other + path)).status).toBe(403)
    for (const value of [
      real.replace(/_[^_]{43}$/, `_${'A'.repeat(43)}`),
      'fss_0000000000000000_',
      `fss_../../tokens_${'A'.repeat(43)}`,
      '{"role":"admin"}',
      `${real}; ${sessionCookie}=x`,
    ]) {
      browser.cookies.set(sessionCookie, value)
      const { status, text } = await browser.send(`${leader}/api/v1/tokens`)
      expect([401, 403]).toContain(status)
      expect(text).not.toMatch(inside)
    }
    // A session of a browser is nothing at the router, whose port shares the cookies of the host.
    const answer = await cluster.router('GET', '/v1/topology', undefined, {
      cookie: `${sessionCookie}=${real}`,
    })
    expect(answer.status).toBe(401)
  })

  it('is let in by no token that the issuer has not signed for us', async () => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    for (const faults of [
      { sign: (claims: object) => Promise.resolve(`${part({ alg: 'none' })}.${part(claims)}.`) },
      { claims: { aud: 'billing' } },
      { claims: { iss: 'https://evil.example' } },
      { claims: { nonce: 'mine' } },
      { claims: { exp: 1 } },
      { hidesKey: true },
    ]) {
      issuer.faults = faults
      const { status, text } = await browser.signIn(leader, other)
      expect(status).toBe(401)
      expect(text).not.toMatch(inside)
    }
    expect(browser.cookies.has(sessionCookie)).toBe(false)
  })

  it('and who has no role, is told which claim was looked at', async () => {
    issuer.person = { sub: 'mallory', groups: ['admin', 'root'] }
    const { status, text } = await browser.signIn(leader, other)
    expect(status).toBe(403)
    expect(JSON.parse(text)).toMatchObject({ code: 'forbidden' })
    expect(text).toContain('groups')
  })
})

it('what was done and tried is in the audit log; no code, token or secret is there or in the logs', async () => {
  await browser.signIn(leader, other)
  const audit = await cluster.cli('audit', 'list', '--limit', '1000', '-o', 'json')
  const records = JSON.parse(audit.out) as {
    what: string
    outcome: string | null
    who: { subject: string }
  }[]
  const of = (what: string, subject: string, outcome: string): boolean =>
    records.some((one) => one.what === what && one.who.subject === subject && one.outcome === outcome)
  expect(of('session.begin', 'alice', 'ok')).toBe(true)
  expect(of('session.end', 'alice', 'ok')).toBe(true)
  expect(of('secrets.rotate', 'alice', 'ok')).toBe(true)
  expect(of('GET /auth/callback', 'mallory', 'forbidden')).toBe(true)
  expect(of('GET /auth/callback', 'unknown', 'sign_in_failed')).toBe(true)
  expect(of('POST /auth/logout', 'anonymous', 'forbidden')).toBe(true)
  expect(await cluster.cli('audit', 'verify')).toMatchObject({ code: 0 })
  const { out, err } = cluster.up.output()
  const seen = [audit.out, out, err, second.output().err].join('\n')
  for (const secret of [...issuer.given, testClient.secret, browser.cookies.get(sessionCookie)!])
    expect(seen).not.toContain(secret)
})

it('a manager does not start where the settings do not go together', async () => {
  const words = ['manager', '--catalog-url', cluster.state.catalog.url, `--auth-oidc-issuer=${issuer.url}`]
  const { code, err } = await fleetshard(words, { env: cluster.joinEnvironment })
  expect(code).not.toBe(0)
  expect(err).toContain('auth.oidc-client-id')
  const all = [
    ...words,
    '--auth-oidc-client-id=a',
    `--auth-oidc-public-url=${origin}`,
    '--auth-oidc-default-role=viewer',
  ]
  const env = {
    FLEETSHARD_CATALOG_PASSWORD: cluster.catalogPassword,
    FLEETSHARD_AUTH_OIDC_CLIENT_SECRET: 'env:SECRET',
  }
  const keyless = await fleetshard(all, { env })
  expect(keyless.code).not.toBe(0)
  expect(keyless.err).toContain('secrets.key-file')
})
