// What a connection does with servers that are none, or that misbehave: small TCP servers of the test's own.
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { isFleetError, type Clock } from '@fleetshard/core'
import { afterEach, describe, expect, it } from 'vitest'
import { authenticationCode, backendCode, writeQuery } from '@fleetshard/routing/pgwire'
import { commandComplete, message, readyForQuery } from '@fleetshard/routing/testing'
import { systemClock } from '../../../runtime/mod.ts'
import { connectServer } from '@fleetshard/routing/wire'
import { RecordingSink, type Recorded } from './testing-sinks.ts'
import type { ServerConnection, ServerConnectOptions } from '@fleetshard/routing/wire'

const servers: Server[] = []
const sockets = new Set<Socket>()

afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))))
})

/** Listens; each chunk that comes is answered by the next reply. */
async function serve(onSocket: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    onSocket(socket)
  })
  servers.push(server)
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return (server.address() as AddressInfo).port
}

function replies(...answers: readonly (Buffer | 'close')[]): (socket: Socket) => void {
  return (socket) => {
    let turn = 0
    socket.on('data', () => {
      const answer = answers[turn]
      turn += 1
      if (answer === 'close') socket.destroy()
      else if (answer !== undefined) socket.write(answer)
    })
  }
}

const welcome = Buffer.concat([
  message(backendCode.authentication, (out) => {
    out.int32(authenticationCode.ok)
  }),
  readyForQuery('I'),
])

function options(port: number, over: Partial<ServerConnectOptions> = {}): ServerConnectOptions {
  return {
    host: '127.0.0.1',
    port,
    database: 'app',
    user: 'bob',
    password: 'secret',
    tls: 'disable',
    applicationName: 'test',
    connectTimeoutMs: 20_000,
    ...over,
  }
}

const connect = (
  port: number,
  over?: Partial<ServerConnectOptions>,
  clock: Clock = systemClock,
): Promise<ServerConnection> => connectServer(options(port, over), clock, new AbortController().signal)

function simple(connection: ServerConnection): Promise<Recorded> {
  const sink = new RecordingSink()
  connection.submitWith((out) => {
    writeQuery(out, 'select 1')
  }, sink)
  return sink.ended
}

async function failure(connecting: Promise<ServerConnection>): Promise<string> {
  const error: unknown = await connecting.catch((caught: unknown) => caught)
  if (!isFleetError(error, 'shard_unavailable')) throw error
  return error.message
}

describe('connecting fails with a reason', () => {
  it.each([
    ['another protocol', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), /claims \d+ bytes/],
    ['an impossible length', Buffer.from([0x52, 0xff, 0xff, 0xff, 0xff]), /claims -1 bytes/],
    ['a message that is no login', commandComplete('SELECT 1'), /out of step/],
    ['the end', 'close' as const, /closed/],
  ])('when the answer is %s', async (_what, answer, reason) => {
    const port = await serve(replies(answer))
    expect(await failure(connect(port))).toMatch(reason)
  })

  it('when the server has no TLS, and when something lies in front of the encryption', async () => {
    expect(await failure(connect(await serve(replies(Buffer.from('N'))), { tls: 'require' }))).toMatch(
      /does not offer TLS/,
    )
    const smuggled = Buffer.concat([Buffer.from('S'), welcome])
    expect(await failure(connect(await serve(replies(smuggled)), { tls: 'require' }))).toMatch(
      /not that of a Postgres/,
    )
    expect(await failure(connect(await serve(replies('close')), { tls: 'require' }))).toMatch(/closed/)
  })

  it.each(['disable', 'require'] as const)('when the time is up, with TLS mode %s', async (tls) => {
    const connected = Promise.withResolvers<Socket>()
    const port = await serve((socket) => {
      connected.resolve(socket)
    })
    let expire: () => void = () => undefined
    const clock: Clock = {
      ...systemClock,
      after: (delayMs, callback) => {
        expect(delayMs).toBe(20_000)
        expire = callback
        return () => undefined
      },
    }
    const connecting = failure(connect(port, { tls }, clock))
    const socket = await connected.promise
    const gone = new Promise((resolve) => socket.once('close', resolve))
    socket.resume()
    expire()
    expect(await connecting).toMatch(/timed out after 20000 ms/)
    await gone
  })
})

describe('a server that breaks the protocol loses the connection', () => {
  it.each([
    ['an unknown message', Buffer.from([0x21, 0, 0, 0, 4])],
    ['an impossible length', Buffer.from([0x44, 0, 0, 0, 1])],
    ['a login request', message(backendCode.authentication, (out) => out.int32(0))],
    ['a broken ReadyForQuery', message(backendCode.readyForQuery, (out) => out.uint8(0x58))],
  ])('%s', async (_what, answer) => {
    const port = await serve(replies(welcome, answer))
    const connection = await connect(port)
    const { lost } = await simple(connection)
    expect(lost).toMatchObject({ sent: true, error: { code: 'shard_unavailable' } })
    expect(lost?.error.message).toMatch(/broke the protocol/)
    expect(await connection.closed).toBe(lost?.error)
  })

  it('an answer that nobody asked for', async () => {
    const early = await serve(replies(Buffer.concat([welcome, readyForQuery('I')])))
    expect(await failure(connect(early))).toMatch(/without a question/)
    const twice = Buffer.concat([commandComplete('SELECT 0'), readyForQuery('I'), readyForQuery('I')])
    const connection = await connect(await serve(replies(welcome, twice)))
    expect(await simple(connection)).toMatchObject({ tags: ['SELECT 0'], lost: null })
    expect((await connection.closed)?.message).toMatch(/without a question/)
  })

  it('but notices, settings and notifications may come at any time', async () => {
    const notice = message(backendCode.noticeResponse, (out) => {
      out.raw(Buffer.from('SNOTICE\0C00000\0Mhello\0\0'))
    })
    const setting = message(backendCode.parameterStatus, (out) => {
      out.cstring('in_hot_standby')
      out.cstring('off')
    })
    const answer = Buffer.concat([commandComplete('SELECT 0'), readyForQuery('I')])
    const port = await serve(replies(Buffer.concat([welcome, notice, setting]), answer))
    const connection = await connect(port)
    expect((await simple(connection)).tags).toEqual(['SELECT 0'])
    expect(connection.parameters.get('in_hot_standby')).toBe('off')
  })
})

describe('cancelling', () => {
  it('gives up at its deadline when the server does not take the request', async () => {
    const port = await serve((socket) => {
      socket.once('data', (bytes: Buffer) => {
        // The first connection logs in; the second one, with the request to cancel, gets no answer.
        if (bytes.length > 16) socket.write(welcome)
      })
    })
    const connection = await connect(port)
    await expect(connection.cancel({ timeoutMs: 20 })).rejects.toMatchObject({ code: 'deadline_exceeded' })
    const reason = new Error('given up')
    await expect(connection.cancel({ timeoutMs: 20_000, signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    )
  })
})
