// Failing over between routers, on real sockets: what may be sent again is, what may have happened is not.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isFleetError, type FleetError } from '@fleetshard/core'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../clock.ts'
import { exchangeByNode } from './node/exchange.ts'
import { Routers, type RouterRequest } from './routers.ts'
import { exchangeByFetch } from './whole-exchange.ts'

const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

/** A stand-in for a router, with the bodies that it got. */
async function router(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const bodies: unknown[] = []
  const server = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk: Buffer) => (text += chunk.toString()))
    request.on('end', () => {
      bodies.push(JSON.parse(text))
      answer(request, response)
    })
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`, bodies, server }
}

const works = () => router((_request, response) => response.end('{"ok":true}'))
/** Takes the request and hangs up. */
const breaks = () => router((request) => request.socket.destroy())
const refuses = (code: string, status: number, more = {}) =>
  router((_request, response) => {
    response.writeHead(status, { 'content-type': 'application/problem+json' })
    response.end(JSON.stringify({ code, detail: 'no', status, ...more }))
  })

async function nobody(): Promise<string> {
  const { url, server } = await works()
  await new Promise((resolve) => server.close(resolve))
  return url
}

const send: typeof fetch = (input, init) => fetch(input, init)
const byFetch = exchangeByFetch(send)

const write: RouterRequest = { method: 'POST', path: '/v1/execute', body: { write: 1 }, repeat: null }
const read: RouterRequest = { ...write, body: { read: 1 }, repeat: { body: { read: 'again' } } }

describe('a token', () => {
  const routersWith = (url: string, token: string | (() => string | Promise<string>)): Routers =>
    new Routers({ urls: [url], clock: systemClock, fetch: send, whole: byFetch, token, traceHeaders: null })

  it('is asked for before each request where it is a function', async () => {
    const seen: (string | undefined)[] = []
    const { url } = await router((request, response) => {
      seen.push(request.headers.authorization)
      response.end('{}')
    })
    let count = 0
    const routers = routersWith(url, async () => `t${String((count += 1))}`)
    await routers.call(write, { timeoutMs: 10_000 })
    await routers.call(read, { timeoutMs: 10_000 })
    await routersWith(url, 'fixed').call(read, { timeoutMs: 10_000 })
    expect(seen).toEqual(['Bearer t1', 'Bearer t2', 'Bearer fixed'])
  })

  it('that cannot be had fails the call, and nothing is sent', async () => {
    const { url, bodies } = await works()
    const routers = routersWith(url, () => Promise.reject(new Error('the issuer is away')))
    const error = await failureOf(routers.call(read, { timeoutMs: 10_000 }))
    expect([error.code, bodies]).toEqual(['unauthenticated', []])
  })
})

async function failureOf(call: Promise<unknown>): Promise<FleetError> {
  const error: unknown = await call.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (isFleetError(error)) return error
  throw new Error('the call did not fail as it should', { cause: error })
}

describe.each([
  ['fetch', byFetch],
  ['the HTTP client of Node', exchangeByNode({ clock: systemClock, byFetch, tlsContext: null })],
])('several routers, by %s', (_name, whole) => {
  const routersAt = (...urls: string[]) =>
    new Routers({ urls, clock: systemClock, fetch: send, whole, token: null, traceHeaders: null })
  const limits = { timeoutMs: 10_000 }

  it('sends what nobody took to the next, and stays there', async () => {
    const second = await works()
    const routers = routersAt(await nobody(), second.url)
    expect((await routers.call(write, limits)).json).toEqual({ ok: true })
    await routers.call(write, limits)
    expect(second.bodies).toEqual([{ write: 1 }, { write: 1 }])
    expect(routers.base).toBe(second.url)
  })

  it('sends a write that may have happened to nobody else', async () => {
    const second = await works()
    const error = await failureOf(routersAt((await breaks()).url, second.url).call(write, limits))
    expect(error).toMatchObject({ code: 'server_unreachable', facts: { outcome: 'unknown' } })
    expect(second.bodies).toEqual([])
  })

  it('repeats what may be repeated, as its caller says', async () => {
    const second = await works()
    await routersAt((await breaks()).url, second.url).call(read, limits)
    expect(second.bodies).toEqual([{ read: 'again' }])
  })

  it('does not forget what an earlier sending may have done', async () => {
    const error = await failureOf(routersAt((await breaks()).url, await nobody()).call(read, limits))
    expect(error).toMatchObject({ code: 'server_unreachable', facts: { outcome: 'unknown' } })
  })

  it('leaves a router that shuts down, and believes any other answer', async () => {
    const third = await works()
    const leaving = await refuses('shutting_down', 503, { outcome: 'aborted' })
    await routersAt(leaving.url, third.url).call(write, limits)
    expect(third.bodies).toEqual([{ write: 1 }])
    const wrong = await refuses('sql_error', 400)
    const error = await failureOf(routersAt(wrong.url, third.url).call(write, limits))
    expect(error.code).toBe('sql_error')
    const unknown = await refuses('shutting_down', 503, { outcome: 'unknown' })
    expect((await failureOf(routersAt(unknown.url, third.url).call(write, limits))).code).toBe(
      'shutting_down',
    )
    expect(third.bodies).toHaveLength(1)
  })

  it('tries each one once', async () => {
    const [one, other] = [await breaks(), await breaks()]
    await failureOf(routersAt(one.url, other.url).call(read, limits))
    expect([one.bodies.length, other.bodies.length]).toEqual([1, 1])
  })

  it('ends at its deadline and by its signal, and says that the outcome is not known', async () => {
    const silent = await router(() => undefined)
    const late = await failureOf(routersAt(silent.url).call(write, { timeoutMs: 50 }))
    expect(late).toMatchObject({ code: 'deadline_exceeded', facts: { outcome: 'unknown' } })
    const stop = new AbortController()
    const call = failureOf(routersAt(silent.url).call(write, { ...limits, signal: stop.signal }))
    stop.abort()
    expect((await call).code).toBe('canceled')
  })

  it('leaves a router that does not answer, or hangs up, for the requests after', async () => {
    for (const wrong of [await router(() => undefined), await breaks()]) {
      const second = await works()
      const routers = routersAt(wrong.url, second.url)
      await failureOf(routers.call(write, { timeoutMs: 50 }))
      await routers.call(write, limits)
      expect([wrong.bodies.length, second.bodies.length]).toEqual([1, 1])
    }
  })

  it('does not send what was given up before', async () => {
    const other = await works()
    const call = routersAt(other.url).call(write, { ...limits, signal: AbortSignal.abort() })
    expect((await failureOf(call)).code).toBe('canceled')
    expect(other.bodies).toEqual([])
  })

  it('does not take half an answer for one', async () => {
    const half = await router((_request, response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('{"ok":', () => response.socket?.destroy())
    })
    const error = await failureOf(routersAt(half.url).call(write, limits))
    expect(error).toMatchObject({ code: 'server_unreachable', facts: { outcome: 'unknown' } })
  })

  it('reads letters that are cut in two, and goes where a proxy sends it', async () => {
    const other = await router((_request, response) => {
      const bytes = Buffer.from('{"letter":"é"}')
      response.write(bytes.subarray(0, 12), () => response.end(bytes.subarray(12)))
    })
    const proxy = await router((_request, response) =>
      response.writeHead(307, { location: `${other.url}/v1/execute` }).end(),
    )
    expect((await routersAt(proxy.url).call(write, limits)).json).toEqual({ letter: 'é' })
    expect(other.bodies).toEqual([{ write: 1 }])
  })

  it('knows an answer that is not that of a router', async () => {
    const other = await router((_request, response) => response.end('<html>'))
    expect((await failureOf(routersAt(other.url).call(write, limits))).code).toBe('server_unreachable')
  })
})
