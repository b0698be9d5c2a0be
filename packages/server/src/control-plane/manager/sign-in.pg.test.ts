// Signing in where the catalog is a real Postgres, which goes away for a while.
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openCatalogStore, type CatalogStore } from '../../catalog/mod.ts'
import { startTestServer, type TestServer } from '../../local/testing.ts'
import { silentLogger, systemClock } from '../../runtime/mod.ts'
import { openBrowser, startIssuer, type TestIssuer } from '../../security/testing-issuer.ts'
import { adminToken, publicOrigin, startSignInFleet, type SignInFleet } from './testing/sign-in-fleet.ts'

let server: TestServer
let store: CatalogStore
let issuer: TestIssuer
let fleet: SignInFleet

beforeAll(async () => {
  server = await startTestServer()
  store = openCatalogStore(server.url, { clock: systemClock, log: silentLogger })
  issuer = await startIssuer()
  fleet = await startSignInFleet({ store, issuer })
})
afterAll(async () => {
  await fleet[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
  await Promise.all([server[Symbol.asyncDispose](), issuer[Symbol.asyncDispose]()])
})

it('at any of the managers counts at all of them at once, and so does the end of it', async () => {
  for (let round = 0; round < 5; round += 1) {
    const browser = openBrowser()
    await browser.signIn(fleet.one.url, fleet.two.url)
    // The other one may not have heard of it by the catalog's changes yet.
    expect((await browser.send(`${fleet.one.url}/auth/me`)).status).toBe(200)
    const kept = new Map(browser.cookies)
    const headers = { origin: publicOrigin }
    expect((await browser.send(`${fleet.one.url}/auth/logout`, { method: 'POST', headers })).status).toBe(200)
    for (const [name, value] of kept) browser.cookies.set(name, value)
    expect((await browser.send(`${fleet.one.url}/auth/me`)).status).toBe(401)
    await expect.poll(async () => (await browser.send(`${fleet.two.url}/auth/me`)).status).toBe(401)
  }
})

it('lasts while the catalog is away; nobody is told that he is nobody, and none comes in or goes', async () => {
  const browser = openBrowser()
  await browser.signIn(fleet.one.url, fleet.one.url)
  const statusAt = async (url: string): Promise<number> => (await browser.send(`${url}/auth/me`)).status
  // The copy of a manager that shows what came later shows the session as well.
  const token = { authorization: `Bearer ${adminToken}` }
  await fleet.one.send('POST', '/api/v1/keyspaces', { name: 'later' }, token)
  const later = () => fleet.two.send('GET', '/api/v1/keyspaces/later', undefined, token)
  await expect.poll(async () => (await later()).status).toBe(200)
  const other = openBrowser()
  const callback = await other.toIssuer(fleet.one.url)
  await server.stop('kill')
  for (const { url } of [fleet.one, fleet.two]) expect(await statusAt(url)).toBe(200)
  const headers = { origin: publicOrigin }
  const logout = await browser.send(`${fleet.one.url}/auth/logout`, { method: 'POST', headers })
  expect([logout.status, browser.cookies.size]).toEqual([503, 1])
  expect((await other.send(fleet.one.url + callback)).status).toBe(503)
  // Of a session that nobody shows it is not known now whether there is one.
  other.cookies.set('__Host-fleetshard_session', `fss_0123456789abcdef_${'A'.repeat(43)}`)
  const unknown = await other.send(`${fleet.one.url}/auth/me`)
  expect([unknown.status, (JSON.parse(unknown.text) as { code: string }).code]).toEqual([
    503,
    'catalog_unavailable',
  ])
  await server.start()
  await expect.poll(async () => (await openBrowser().signIn(fleet.two.url, fleet.one.url)).status).toBe(302)
  expect(await statusAt(fleet.two.url)).toBe(200)
})
