import type { Socket } from 'node:net'
import { isFleetError } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import {
  authenticationCode,
  backendCode,
  decodeFrontend,
  decodeStartupRequest,
  type WireWriter,
} from '../pgwire/mod.ts'
import { message, readyForQuery } from '../pgwire/testing.ts'
import { login, LoginInbox, type LoginResult } from './login.ts'
import { testCertificates } from './testing-certificates.ts'
import type { Transport } from './transport.ts'
import type { ServerConnectOptions } from './types.ts'
import { X509Certificate } from 'node:crypto'

const options: ServerConnectOptions = {
  host: '10.0.0.1',
  port: 5432,
  database: 'app',
  user: 'bob',
  password: 'secret',
  tls: 'disable',
  applicationName: 'test',
  connectTimeoutMs: 1000,
}

function authentication(code: number, body: (out: WireWriter) => void = () => undefined): Buffer {
  return message(backendCode.authentication, (out) => {
    out.int32(code)
    body(out)
  })
}

const sasl = (...mechanisms: readonly string[]): Buffer =>
  authentication(authenticationCode.sasl, (out) => {
    for (const mechanism of mechanisms) out.cstring(mechanism)
    out.uint8(0)
  })
const saslText = (code: number, text: string): Buffer =>
  authentication(code, (out) => {
    out.utf8(text)
  })
const authenticated = authentication(authenticationCode.ok)
const keyData = message(backendCode.backendKeyData, (out) => {
  out.int32(7)
  out.int32(9)
})

/** A login against a server that says exactly that; `sent` gets what the client wrote. */
function loginWith(
  replies: readonly Buffer[],
  over: Partial<Omit<Transport, 'socket'>> & { options?: Partial<ServerConnectOptions> } = {},
): { result: Promise<LoginResult>; sent: Buffer[] } {
  const sent: Buffer[] = []
  const inbox = new LoginInbox()
  const socket = { write: (bytes: Buffer) => sent.push(Buffer.from(bytes)) } as unknown as Socket
  for (const reply of replies) inbox.push(reply[0] as number, reply, 0, reply.length)
  inbox.fail(new Error('the script of the server is at its end'))
  const { options: overOptions, ...transport } = over
  const full: Transport = { socket, encrypted: false, certificate: null, local: false, ...transport }
  return { result: login(full, inbox, { ...options, ...overOptions }), sent }
}

async function refusal(run: { result: Promise<unknown> }): Promise<string> {
  const error: unknown = await run.result.catch((caught: unknown) => caught)
  if (!isFleetError(error, 'shard_unavailable')) throw error
  expect(error.message).not.toContain('secret')
  expect(error.retryable).toBe(false)
  return error.message
}

describe('the login', () => {
  it('sends user, database and settings, and keeps what the server tells', async () => {
    const status = message(backendCode.parameterStatus, (out) => {
      out.cstring('server_version')
      out.cstring('18.4')
    })
    const run = loginWith([authenticated, status, keyData, readyForQuery('I')], {
      options: { startupSettings: { work_mem: '8MB', user: 'mallory' } },
    })
    expect(await run.result).toMatchObject({
      processId: 7,
      parameters: new Map([['server_version', '18.4']]),
      status: 'I',
    })
    const startup = run.sent[0] as Buffer
    expect(decodeStartupRequest(startup, 0, startup.length)).toMatchObject({
      kind: 'startup',
      parameters: new Map([
        ['work_mem', '8MB'],
        ['user', 'bob'],
        ['database', 'app'],
        ['application_name', 'test'],
        ['client_encoding', 'UTF8'],
      ]),
    })
  })

  it('sends the password in clear over TLS or on this machine only', async () => {
    const script = [authentication(authenticationCode.cleartextPassword), authenticated, readyForQuery('I')]
    const open = loginWith(script)
    expect(await refusal(open)).toMatch(/clear text over a connection without TLS/)
    expect(open.sent).toHaveLength(1)
    for (const over of [{ encrypted: true }, { local: true }]) {
      const run = loginWith(script, over)
      await run.result
      const bytes = run.sent[1] as Buffer
      expect(decodeFrontend(0x70, bytes, 0, bytes.length)).toEqual({
        kind: 'password',
        body: Buffer.from('secret\0'),
      })
    }
  })

  it('chooses SCRAM with channel binding under TLS when the server offers it', async () => {
    const { certificate } = testCertificates()
    const der = new X509Certificate(certificate).raw
    const both = sasl('SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256')
    const chosen = async (offer: Buffer, der_: Buffer | null): Promise<string> => {
      const run = loginWith([offer], { certificate: der_, encrypted: der_ !== null })
      await expect(run.result).rejects.toThrow(/end/)
      return (run.sent[1] as Buffer).toString('latin1')
    }
    expect(await chosen(both, der)).toMatch(/SCRAM-SHA-256-PLUS\0.{4}p=tls-server-end-point,,/s)
    expect(await chosen(both, null)).toMatch(/SCRAM-SHA-256\0.{4}n,,/s)
    expect(await chosen(sasl('SCRAM-SHA-256'), der)).toMatch(/SCRAM-SHA-256\0.{4}n,,/s)
    // What no hash is known for takes the plain mechanism.
    expect(await chosen(both, Buffer.from('not a certificate'))).toMatch(/SCRAM-SHA-256\0.{4}n,,/s)
  })

  it('does not believe a server that skips its own proof', async () => {
    const inbox = new LoginInbox()
    const sent: Buffer[] = []
    const answer = (bytes: Buffer): void => {
      inbox.push(bytes[0] as number, bytes, 0, bytes.length)
    }
    const socket = {
      write: (bytes: Buffer) => {
        sent.push(Buffer.from(bytes))
        if (sent.length === 1) answer(sasl('SCRAM-SHA-256'))
        if (sent.length === 2) {
          const nonce = /r=(.+)$/.exec(bytes.toString('latin1'))?.[1] ?? ''
          answer(saslText(authenticationCode.saslContinue, `r=${nonce}more,s=c2FsdA==,i=1`))
        }
        if (sent.length === 3) answer(proof)
      },
    } as unknown as Socket
    let proof = authenticated
    const transport: Transport = { socket, encrypted: false, certificate: null, local: true }
    await expect(login(transport, inbox, options)).rejects.toThrow(/out of step/)
    sent.length = 0
    proof = saslText(authenticationCode.saslFinal, `v=${Buffer.alloc(32).toString('base64')}`)
    expect(await refusal({ result: login(transport, inbox, options) })).toMatch(/could not prove/)
  })

  it.each([
    ['Kerberos', authentication(7), /login method 7/],
    ['an unknown mechanism only', sasl('OAUTHBEARER'), /OAUTHBEARER only/],
  ])('refuses %s', async (_what, request, reason) => {
    expect(await refusal(loginWith([request]))).toMatch(reason)
  })

  it('asks for the password where none is known', async () => {
    const run = loginWith([sasl('SCRAM-SHA-256')], { options: { password: null } })
    expect(await refusal(run)).toMatch(/none is known/)
  })

  it.each([
    ['settings before the login', [keyData]],
    ['a row', [authenticated, message(backendCode.dataRow, (out) => out.int16(0))]],
    [
      'a second request',
      [authentication(5, (out) => out.int32(1)), authentication(5, (out) => out.int32(1))],
    ],
    ['the end of an exchange that did not begin', [authentication(authenticationCode.saslFinal)]],
  ])('does not go on after %s', async (_what, script) => {
    await expect(loginWith(script).result).rejects.toSatisfy((error) =>
      isFleetError(error, 'protocol_violation'),
    )
  })

  it('does not gather messages without end', () => {
    const inbox = new LoginInbox()
    expect(() => {
      for (let count = 0; count < 2000; count += 1)
        inbox.push(keyData[0] as number, keyData, 0, keyData.length)
    }).toThrow(/too many/)
  })
})
