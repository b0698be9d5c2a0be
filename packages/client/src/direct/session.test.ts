// The session of a direct client, with routers that answer what the test says.
import { parseNodeId, type NodeRecord } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../clock.ts'
import { Routers } from '../http/routers.ts'
import { exchangeByFetch } from '../http/whole-exchange.ts'
import { DirectSession } from './session.ts'

const node: NodeRecord = {
  id: parseNodeId('n1'),
  role: 'primary',
  host: '127.0.0.1',
  port: 5432,
  database: 'app',
  user: 'app',
  secretRef: 'client:n1',
  tls: 'disable',
  region: null,
  zone: null,
  agent: null,
}

/** @param lateFrom the request from which on the router knows the node n2 */
function open(lateFrom = Infinity) {
  const asked: string[] = []
  const answers: typeof fetch = (_input, init) => {
    asked.push(`${init?.method ?? ''} ${typeof init?.body === 'string' ? init.body : ''}`)
    if (init?.method === 'DELETE') return Promise.resolve(new Response(null, { status: 204 }))
    const logins = [{ node_id: 'n1', user: 'app', password: `password ${String(asked.length)}` }]
    if (asked.length >= lateFrom) logins.push({ node_id: 'n2', user: 'app', password: 'late' })
    return Promise.resolve(Response.json({ client_id: 'c', cluster: 'x', ttl_ms: 30_000, logins }))
  }
  const routers = new Routers({
    urls: ['http://router'],
    clock: systemClock,
    token: null,
    traceHeaders: null,
    fetch: answers,
    whole: exchangeByFetch(answers),
  })
  const session = new DirectSession({
    clock: systemClock,
    routers,
    clientId: 'c',
    keyspace: 'app',
    timeoutMs: 1_000,
    credentials: undefined,
    epoch: () => 7,
  })
  return { asked, session }
}

describe('the session of a direct client', () => {
  it('registers with the epoch, keeps the logins, and asks again for one that a server refused', async () => {
    const { asked, session } = open()
    await session.start()
    expect(asked).toEqual(['POST {"client_id":"c","keyspace":"app","acked_epoch":7}'])
    expect(session.cluster).toBe('x')
    expect(await session.login(node, 's')).toEqual({ user: 'app', password: 'password 1' })
    expect(await session.login(node, 's')).toEqual({ user: 'app', password: 'password 1' })
    session.refused('n1')
    expect(await session.login(node, 's')).toEqual({ user: 'app', password: 'password 2' })
    await session[Symbol.asyncDispose]()
    expect(asked.at(-1)).toBe('DELETE ')
  })

  it('asks again for a server that the router does not know of yet', async () => {
    const { asked, session } = open(4)
    await session.start()
    const other = { ...node, id: parseNodeId('n2') }
    expect(await session.login(other, 's')).toEqual({ user: 'app', password: 'late' })
    expect(asked).toHaveLength(4)
    await session[Symbol.asyncDispose]()
  })

  it('says which server nobody knows a login for', async () => {
    const { session } = open()
    await session.start()
    const other = { ...node, id: parseNodeId('n2') }
    await expect(session.login(other, 's')).rejects.toMatchObject({ code: 'secret_unavailable' })
    await session[Symbol.asyncDispose]()
  })
})
