// Guessing keys of cancel requests and passwords, at a listener whose clock stands still.
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { connect } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { requestCode, WireWriter, writeCancelRequest, writeStartup } from '@fleetshard/routing/pgwire'
import pg from 'pg'
import { silentLogger, systemClock } from '../../../../runtime/mod.ts'
import { createAuthenticator } from '../../../../security/mod.ts'
import { cancelBounds, loginBounds } from './attempt-limit.ts'
import { WireListener, type EnteredClient } from './listener.ts'
import { demandOf, trustEverybody, type WireUsers } from './users.ts'

const clock = { ...systemClock, monotonic: () => 0, after: systemClock.after.bind(systemClock) }
let listener: WireListener | null = null
/** Called for each session. */
let opened: () => void = () => undefined
afterEach(async () => listener?.[Symbol.asyncDispose]())

/** A listener whose sessions say nothing; `cancelled` counts what reached them. */
async function listen(users: WireUsers): Promise<{ clients: EnteredClient[]; cancelled: () => number }> {
  const clients: EnteredClient[] = []
  let cancelled = 0
  listener = new WireListener({
    log: silentLogger,
    clock,
    host: '127.0.0.1',
    port: 0,
    limits: {
      connectionsMax: 500,
      connectionsPerAddressMax: 500,
      loginTimeoutMs: 10_000,
      messageBytesMax: 2 ** 20,
      failuresPerMinute: 0,
    },
    users,
    authenticator: createAuthenticator({
      clock,
      isRequired: false,
      onlyOwnHost: false,
      adminToken: null,
      tokens: () => new Map(),
      jwt: null,
      failuresPerMinute: 0,
      requestsPerSecond: 0,
    }),
    tls: null,
    openSession: (client) => {
      clients.push(client)
      opened()
      return {
        start: () => undefined,
        shutDown: () => {
          client.connection.end()
        },
        cancel: () => (cancelled += 1),
        message: () => undefined,
        acceptsPieces: () => false,
        piece: () => undefined,
        broken: () => undefined,
        gone: () => undefined,
      }
    },
  })
  await listener.listen()
  return { clients, cancelled: () => cancelled }
}

/** Sends the bytes and waits until the listener has closed the connection, where it does. */
function send(write: (out: WireWriter) => void, isClosed = true): Promise<void> {
  const out = new WireWriter()
  write(out)
  return new Promise((resolve, reject) => {
    const socket = connect(listener?.address.port ?? 0, '127.0.0.1', () => socket.write(out.bytes()))
    socket.on('error', reject)
    socket.on('data', () => {
      if (!isClosed) resolve()
    })
    socket.on('close', resolve)
  })
}

/** As pg_authid has it. */
function verifierOf(password: string): string {
  const salt = Buffer.alloc(16, 7)
  const salted = pbkdf2Sync(password, salt, 4096, 32, 'sha256')
  const keyOf = (name: string): Buffer => createHmac('sha256', salted).update(name).digest()
  const stored = createHash('sha256').update(keyOf('Client Key')).digest('base64')
  return `SCRAM-SHA-256$4096:${salt.toString('base64')}$${stored}:${keyOf('Server Key').toString('base64')}`
}

test('after too many wrong keys from one address cancel requests are passed over, right ones too', async () => {
  const { clients, cancelled } = await listen(trustEverybody)
  await send((out) => {
    writeStartup(out, { user: 'app', database: 'app' }, requestCode.protocol30)
  }, false)
  const { processId, secretKey } = clients[0]!.key
  const cancel = (key: Buffer): Promise<void> =>
    send((out) => {
      writeCancelRequest(out, processId, key)
    })
  const wrong = Buffer.from(secretKey.map((byte) => byte ^ 0xff))
  for (let guess = 1; guess < cancelBounds.attemptsMax; guess += 1) await cancel(wrong)
  await cancel(secretKey)
  expect(cancelled()).toBe(1)
  await cancel(wrong)
  await cancel(wrong)
  await cancel(secretKey)
  expect(cancelled()).toBe(1)
  expect(listener?.attempts.cancel).toMatchObject({ wrong: cancelBounds.attemptsMax, ignored: 2 })
})

test('after too many wrong passwords a user is not asked any more, from that address', async () => {
  const demand = demandOf(verifierOf('right'))
  await listen({ demand: () => Promise.resolve(demand) })
  const logIn = (user: string, password: string): Promise<string> => {
    const client = new pg.Client({
      host: '127.0.0.1',
      port: listener?.address.port ?? 0,
      user,
      password,
      database: 'app',
    })
    client.on('error', () => undefined)
    const failed = client.connect().then(
      () => 'in',
      (error: unknown) => String((error as { code?: string }).code),
    )
    // Who is let in is not greeted here.
    const entered = new Promise<string>((resolve) => {
      opened = () => {
        resolve('in')
      }
    })
    return Promise.race([failed, entered])
  }
  for (let guess = 1; guess < loginBounds.attemptsMax; guess += 1)
    expect(await logIn('ann', 'wrong')).toBe('28P01')
  expect(await logIn('ann', 'right')).toBe('in')
  expect(await logIn('ann', 'wrong')).toBe('28P01')
  expect(await logIn('ann', 'right')).toBe('53300')
  expect(await logIn('bob', 'right')).toBe('in')
  expect(listener?.attempts.login).toMatchObject({ wrong: loginBounds.attemptsMax, ignored: 1 })
})
