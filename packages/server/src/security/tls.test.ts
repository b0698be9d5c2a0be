// TLS of our HTTP servers and clients, over real connections: who is refused, and what new certificates change.
import { writeFileSync } from 'node:fs'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { certificateFault } from '@fleetshard/core'
import { fetchOverTls, makeSecureContext } from '@fleetshard/core/tls'
import { createHttpServer, silentLogger, systemClock, type ServerTls } from '../runtime/mod.ts'
import { testAuthority, type TestAuthority } from './testing.ts'
import { openTlsFiles, type TlsFiles, type TlsPaths } from './tls-files.ts'

let ours: TestAuthority
let theirs: TestAuthority
beforeAll(async () => {
  ours = await testAuthority()
  theirs = await testAuthority()
})
afterAll(() => {
  ours[Symbol.dispose]()
  theirs[Symbol.dispose]()
})

const openFiles = (paths: TlsPaths): Promise<TlsFiles> =>
  openTlsFiles({ paths, clock: systemClock, log: silentLogger, pollEveryMs: 10 })

interface Listening extends AsyncDisposable {
  readonly port: number
  readonly files: TlsFiles
}

/** A server that answers everybody who gets so far, and follows its certificates. */
async function listen(
  paths: TlsPaths,
  clientCertificates: ServerTls['clientCertificates'] = 'ignored',
): Promise<Listening> {
  const files = await openFiles(paths)
  const server: Server = createHttpServer({}, { source: files, clientCertificates }, (_request, response) => {
    response.end('in')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const stop = new AbortController()
  const running = files.run(stop.signal)
  return {
    files,
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
      await new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      })
    },
  }
}

/** A connection whose handshake is done; the failure of one that was refused. */
function open(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, ...options })
    socket.once('error', reject)
    socket.once('secureConnect', () => {
      resolve(socket)
    })
  })
}

const serialOf = (socket: TLSSocket): string => socket.getPeerCertificate().serialNumber

const oldClient: ConnectionOptions = {
  rejectUnauthorized: false,
  minVersion: 'TLSv1.1',
  maxVersion: 'TLSv1.1',
  ciphers: 'DEFAULT@SECLEVEL=0',
}

describe('an HTTP server under TLS', () => {
  it('refuses TLS 1.1, which the client of the test speaks', async () => {
    const { paths, pair } = await ours.write('router')
    await using server = await listen(paths)
    await expect(open(server.port, oldClient)).rejects.toThrow(/protocol version|unsupported/i)
    const lax = createServer({
      cert: pair.certificate,
      key: pair.key,
      minVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    })
    await new Promise<void>((resolve) => lax.listen(0, '127.0.0.1', resolve))
    const socket = await open((lax.address() as AddressInfo).port, oldClient)
    expect(socket.getProtocol()).toBe('TLSv1.1')
    socket.destroy()
    lax.close()
  })

  it('speaks 1.2 and 1.3, and no plain HTTP', async () => {
    await using server = await listen((await ours.write('router')).paths)
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const socket = await open(server.port, { ca: ours.ca, minVersion: version, maxVersion: version })
      expect(socket.getProtocol()).toBe(version)
      socket.destroy()
    }
    await expect(fetch(`http://127.0.0.1:${String(server.port)}/`)).rejects.toThrow()
  })

  it('is refused by clients that trust another authority, and told apart from one that is away', async () => {
    await using server = await listen((await ours.write('router')).paths)
    const url = `https://127.0.0.1:${String(server.port)}/`
    const stranger = fetchOverTls(() => makeSecureContext({ ca: theirs.ca, certificate: null, key: null }))
    const failure = await stranger(url).catch((error: unknown) => error)
    expect(certificateFault(failure)).toMatch(/unable to verify|self-signed/)
    expect(certificateFault(await fetch(url).catch((error: unknown) => error))).not.toBeNull()
    const away = await stranger('https://127.0.0.1:1/').catch((error: unknown) => error)
    expect(away).toBeInstanceOf(Error)
    expect(certificateFault(away)).toBeNull()
  })

  it('takes callers with a certificate of its authority only, where it wants one', async () => {
    await using server = await listen((await ours.write('manager')).paths, 'required')
    const url = `https://127.0.0.1:${String(server.port)}/`
    const ask = (certificate: string | null, key: string | null): Promise<Response> =>
      fetchOverTls(() => makeSecureContext({ ca: ours.ca, certificate, key }))(url)
    const mine = (await ours.write('worker')).pair
    const other = (await theirs.write('worker')).pair
    await expect(ask(null, null)).rejects.toThrow(/certificate required|socket hang up|ECONNRESET/)
    await expect(ask(other.certificate, other.key)).rejects.toThrow(/unknown ca|socket hang up|ECONNRESET/)
    expect(await (await ask(mine.certificate, mine.key)).text()).toBe('in')
  })

  it('takes new certificates for new connections, and lets those before go on', async () => {
    const { paths } = await ours.write('router')
    await using server = await listen(paths)
    const before = await open(server.port, { ca: ours.ca })
    const first = serialOf(before)
    const replaced = new Promise<void>((resolve) => server.files.onChange(resolve))
    await ours.write('router')
    await replaced
    await expect
      .poll(async () => {
        const socket = await open(server.port, { ca: ours.ca })
        const serial = serialOf(socket)
        socket.destroy()
        return serial
      })
      .not.toBe(first)
    const answered = new Promise<string>((resolve) => {
      before.setEncoding('utf8').on('data', resolve)
    })
    before.write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n')
    expect(await answered).toContain('200 OK')
    before.destroy()
  })
})

describe('certificates in files', () => {
  it('are refused at the start, when key and certificate do not fit', async () => {
    const [one, other] = [await ours.write('one'), await ours.write('other')]
    const mixed = { ...one.paths, key: other.paths.key }
    await expect(openFiles(mixed)).rejects.toMatchObject({ code: 'invalid_config' })
    await expect(openFiles({ ...one.paths, key: null })).rejects.toMatchObject({ code: 'invalid_config' })
    await expect(openFiles({ ...one.paths, ca: '/nowhere' })).rejects.toMatchObject({
      code: 'invalid_config',
    })
  })

  it('stay in use as long as what replaces them does not fit together', async () => {
    const { paths } = await ours.write('half')
    const next = (await ours.write('next')).pair
    const lines: unknown[] = []
    const warn = (fields: unknown, text: string): void => void lines.push([fields, text])
    const log = { ...silentLogger, warn, info: () => undefined } as unknown as typeof silentLogger
    const files = await openTlsFiles({ paths, clock: systemClock, log, pollEveryMs: 10 })
    const stop = new AbortController()
    const running = files.run(stop.signal)
    const before = files.context()
    lines.length = 0
    writeFileSync(paths.certificate ?? '', next.certificate)
    await expect.poll(() => JSON.stringify(lines)).toContain('are not used yet')
    expect(files.context()).toBe(before)
    writeFileSync(paths.key ?? '', next.key)
    await expect.poll(() => files.texts()).toMatchObject(next)
    expect(files.context()).not.toBe(before)
    stop.abort()
    await running
  })
})

describe('fetch over TLS', () => {
  it('sends and reads texts, gives up at an abort, and passes streams on as they come', async () => {
    const files = await openFiles((await ours.write('router')).paths)
    const server = createHttpServer(
      {},
      { source: files, clientCertificates: 'ignored' },
      (request, response) => {
        if (request.url === '/never') return
        if (request.url === '/none') {
          response.writeHead(204).end()
          return
        }
        response.setHeader('x-seen', `${request.method ?? ''} ${request.headers['x-mine']?.toString() ?? ''}`)
        response.write('first ')
        request.setEncoding('utf8').on('data', (text: string) => response.write(text))
        request.on('end', () => response.end())
      },
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `https://localhost:${String((server.address() as AddressInfo).port)}`
    const send = fetchOverTls(() => files.context())
    const answer = await send(`${url}/`, { method: 'POST', body: 'ä', headers: { 'x-mine': 'yes' } })
    expect(answer.headers.get('x-seen')).toBe('POST yes')
    expect(await answer.text()).toBe('first ä')
    expect(await (await send(`${url}/none`)).text()).toBe('')
    const gone = new AbortController()
    const waiting = send(`${url}/never`, { signal: gone.signal })
    gone.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    server.closeAllConnections()
    server.close()
  })
})
