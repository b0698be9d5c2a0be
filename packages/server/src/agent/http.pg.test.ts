import { rm } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fetchOverTls, makeSecureContext } from '@fleetshard/core/tls'
import { createAgentClient, type AgentClient } from '../agent-api/mod.ts'
import { silentLogger, systemClock } from '../runtime/mod.ts'
import { openTlsFiles } from '../security/mod.ts'
import { testAuthority } from '../security/testing.ts'
import type { Agent } from './agent.ts'
import { startAgentHttp, type AgentHttp } from './http.ts'
import { connect, makeTestFolder, openTestAgent } from './testing.ts'

let folder = ''
let agent: Agent
let http: AgentHttp
let client: AgentClient
beforeAll(async () => {
  folder = await makeTestFolder()
  agent = await openTestAgent(folder)
  http = await startAgentHttp({ agent, log: silentLogger, version: '0.0.0', port: 0 })
  client = createAgentClient(http)
})
afterAll(async () => {
  await http[Symbol.asyncDispose]()
  await agent[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

const post = (path: string, body: unknown): Promise<Response> =>
  fetch(new URL(path, http.url), {
    method: 'POST',
    headers: { authorization: `Bearer ${http.token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })

test('makes a primary and a replica, promotes, follows, fences and drops over HTTP', async () => {
  expect(await client.create({ id: 'a', kind: 'primary', group: 'g' })).toMatchObject({
    state: 'running',
    kind: 'primary',
    group: 'g',
  })
  expect(await client.create({ id: 'b', kind: 'replica', of: 'a' })).toMatchObject({ of: 'a', group: 'g' })
  expect(await client.health()).toEqual({ status: 'ok', servers: 2, running: 2 })

  const session = await connect(await client.credentials('a'))
  expect((await session.query<{ u: string }>('SELECT current_user AS u')).rows[0]?.u).toBe('app')
  await session.end()

  expect(await client.stop('a', { mode: 'fast', term: 2 })).toMatchObject({ state: 'stopped', term: 2 })
  expect(await client.promote('b', { term: 2 })).toMatchObject({ timeline: 2, server: { kind: 'primary' } })
  expect(await client.follow('a', { of: 'b', term: 2 })).toMatchObject({ kind: 'replica', of: 'b' })
  await expect(client.fence('a', { term: 1 })).rejects.toMatchObject({ code: 'conflict' })
  expect((await client.fence('a')).server).toMatchObject({ desired: 'fenced', state: 'stopped' })
  expect(await client.start('a', { unfence: true })).toMatchObject({ state: 'running' })
  await client.drop('a')
  expect((await client.list()).map(({ id }) => id)).toEqual(['b'])
  await expect(client.get('a')).rejects.toMatchObject({ code: 'not_found', status: 404 })
})

test('lets nobody in without the token, and asks for none to say that it lives', async () => {
  const stranger = createAgentClient({ url: http.url, token: 'guess' })
  await expect(stranger.list()).rejects.toMatchObject({ code: 'unauthenticated', status: 401 })
  await expect(stranger.credentials('b')).rejects.toMatchObject({ code: 'unauthenticated' })
  expect((await fetch(new URL('/v1/servers', http.url))).status).toBe(401)
  expect((await fetch(new URL('/health', http.url))).status).toBe(200)
})

test('a server on loopback is followed by none elsewhere, and its agent follows none', async () => {
  await expect(client.admit('b', { replica: 'x' })).rejects.toMatchObject({ code: 'conflict' })
  const elsewhere = { id: 'x', kind: 'replica', of: 'y', of_agent: 'db2' } as const
  await expect(client.create(elsewhere)).rejects.toMatchObject({ code: 'conflict' })
  await expect(client.get('x')).rejects.toMatchObject({ code: 'not_found' })
})

test.each([
  [{ id: 'x', kind: 'primary', colour: 'red' }, 'colour'],
  [{ id: 'x', kind: 'standby' }, 'kind'],
  [{ id: '../x', kind: 'primary' }, 'id'],
  [{ id: 'x', kind: 'primary', database: 'a"b' }, 'database'],
  [{ id: 'x', kind: 'replica' }, 'kind'],
  [{ kind: 'primary' }, 'id'],
])('refuses the order %j and names the field', async (order, field) => {
  const answer = await post('/v1/servers', order)
  expect(answer.status).toBe(400)
  const problem = (await answer.json()) as { code: string; detail: string }
  expect(problem.code).toBe('invalid_request')
  expect(problem.detail).toContain(field)
})

test('listens on loopback only, where it has no TLS', async () => {
  const beyond = startAgentHttp({ agent, log: silentLogger, version: '0.0.0', port: 0, host: '0.0.0.0' })
  await expect(beyond).rejects.toMatchObject({ code: 'invalid_config' })
})

test('listens beyond it under mutual TLS, to those who have a certificate and the token', async () => {
  using authority = await testAuthority()
  const { paths, pair } = await authority.write('agent')
  const tls = await openTlsFiles({ paths, clock: systemClock, log: silentLogger })
  const options = { agent, log: silentLogger, version: '0.0.0', port: 0, host: '0.0.0.0', tls }
  await using secure = await startAgentHttp(options)
  expect(secure.url).toMatch(/^https:/)
  const url = `https://127.0.0.1:${String(secure.port)}`
  const { token } = secure
  const by = (certificate: string | null, key: string | null): typeof fetch =>
    fetchOverTls(() => makeSecureContext({ ca: authority.ca, certificate, key }))
  const mine = by(pair.certificate, pair.key)
  const seen = await createAgentClient({ url, token, fetch: mine }).list()
  expect(seen.map(({ id }) => id)).toEqual(agent.list().map(({ id }) => id))
  const withoutToken = createAgentClient({ url, token: 'none', fetch: mine }).list()
  await expect(withoutToken).rejects.toMatchObject({ code: 'unauthenticated' })
  const bare = createAgentClient({ url, token, fetch: by(null, null) }).list()
  await expect(bare).rejects.toMatchObject({ code: 'agent_unavailable' })
  await expect(createAgentClient({ url, token }).list()).rejects.toMatchObject({
    code: 'agent_unavailable',
    hint: expect.stringContaining('tls.ca') as string,
  })
})

test('an agent that is not there is told as such, within its deadline', async () => {
  await using gone = await startAgentHttp({ agent, log: silentLogger, version: '0.0.0', port: 0 })
  const { url, token } = gone
  await gone[Symbol.asyncDispose]()
  await expect(createAgentClient({ url, token }).list()).rejects.toMatchObject({
    code: 'agent_unavailable',
    retryable: true,
  })
})
