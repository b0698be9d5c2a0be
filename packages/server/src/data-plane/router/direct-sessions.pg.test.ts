// Sessions of direct clients: told the logins, registered as long as they renew, refused to everybody who may not
// have come from this machine.
import { randomUUID } from 'node:crypto'
import type { RouterRecord } from '@fleetshard/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { manualClock } from '../../runtime/testing/manual-clock.ts'
import { startTestRouter, type TestRouter } from './testing.ts'
import { DirectSessions, sessionTtlMs } from './topology/direct-sessions.ts'

describe('over HTTP', () => {
  let server: TestPostgres
  let router: TestRouter

  beforeAll(async () => {
    const [build] = postgresBuilds()
    if (build === undefined) throw new Error('there is no Postgres')
    server = await startTestPostgres(build)
    router = await startTestRouter(server, { shards: 2 })
  })
  afterAll(async () => {
    await router[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  const session = { client_id: 'client-1', keyspace: 'app', acked_epoch: 7 }
  const send = async (headers: Record<string, string>, body: unknown = session) => {
    const answer = await fetch(`${router.url}/v1/topology/sessions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
  }

  it('tells a login for every server of the keyspace, and the cluster', async () => {
    const nodes = router.snapshot().shards.flatMap((shard) => shard.nodes)
    expect(await send({})).toEqual({
      status: 200,
      body: {
        client_id: 'client-1',
        cluster: router.cluster,
        ttl_ms: sessionTtlMs,
        logins: nodes.map(({ id, user }) => ({ node_id: id, user, password: null })),
      },
    })
  })

  it.each([
    ['a page in a browser', { origin: 'http://localhost:8080' }],
    ['a proxy', { 'x-forwarded-for': '127.0.0.1' }],
    ['a proxy that keeps the standard', { forwarded: 'for=127.0.0.1' }],
    ['a proxy that tells of itself', { via: '1.1 proxy' }],
  ])('refuses %s', async (_who, headers) => {
    const { status, body } = await send(headers)
    expect({ status, code: body['code'] }).toEqual({ status: 403, code: 'direct_refused' })
    expect(body).not.toHaveProperty('logins')
  })

  it('refuses what is no session', async () => {
    expect((await send({}, { ...session, keyspace: 'nowhere' })).body['code']).toBe('not_found')
    expect((await send({}, { ...session, client_id: 'no id' })).body['code']).toBe('invalid_request')
    expect((await send({}, { ...session, acked_epoch: -1 })).body['code']).toBe('invalid_request')
  })

  it('ends one, once or twice', async () => {
    for (let time = 0; time < 2; time += 1) {
      const ended = await fetch(`${router.url}/v1/topology/sessions/client-1`, { method: 'DELETE' })
      expect(ended.status).toBe(204)
    }
  })
})

describe('in the catalog', () => {
  function makeSessions() {
    const clock = manualClock()
    const registered = new Map<string, { record: RouterRecord; epochs: number[] }>()
    const sessions = new DirectSessions({
      clock,
      port: {
        view: { current: () => ({ cluster: { id: randomUUID(), createdAt: '' } }) } as never,
        registerDirect(record) {
          const one = { record, epochs: [] as number[] }
          registered.set(record.id, one)
          return {
            acknowledge: (_keyspace, epoch) => void one.epochs.push(epoch),
            [Symbol.asyncDispose]: async () => void registered.delete(record.id),
          }
        },
      },
      passwords: { loginOf: ({ user }) => Promise.resolve({ user, password: 'secret' }) },
      map: () => ({ snapshot: { keyspace: { name: 'app' }, shards: [] } }) as never,
      router: { host: 'here', port: 8080, version: '1' },
    })
    const renew = (id: string, epoch: number) =>
      sessions.renew({ client_id: id, keyspace: 'app', acked_epoch: epoch })
    return { clock, sessions, registered, renew }
  }

  it('keeps a client as long as it renews, with the epochs that it works with', async () => {
    const { clock, registered, renew } = makeSessions()
    await renew('client-1', 7)
    expect(registered.get('client-1')?.record).toMatchObject({ kind: 'direct', host: 'here', httpPort: 8080 })
    await clock.pass(sessionTtlMs - 1)
    await renew('client-1', 8)
    await clock.pass(sessionTtlMs - 1)
    expect(registered.get('client-1')?.epochs).toEqual([7, 8])
    await clock.pass(1)
    expect(registered.size).toBe(0)
  })

  it('takes them away at the end, and bounds their number', async () => {
    const { sessions, registered, renew } = makeSessions()
    for (let number = 0; number < 1_000; number += 1) await renew(`client-${String(number)}`, 7)
    await expect(renew('one-more', 7)).rejects.toMatchObject({ code: 'overloaded' })
    await renew('client-0', 8)
    await sessions[Symbol.asyncDispose]()
    expect(registered.size).toBe(0)
  })
})
