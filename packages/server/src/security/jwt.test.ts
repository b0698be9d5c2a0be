import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exportJWK, exportSPKI, generateKeyPair, SignJWT, type JWK } from 'jose'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { manualClock, type ManualClock } from '../runtime/testing/manual-clock.ts'
import { createJwtVerifier, type JwtOptions, type JwtVerifier } from './jwt.ts'

const secret = 'a secret that is long enough for HS256'
let folder: string
let clock: ManualClock

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fleetshard-jwt-'))
  clock = manualClock()
})
afterEach(() => {
  rmSync(folder, { recursive: true })
})

const file = (name: string, text: string): string => {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const verifier = (changed: Partial<JwtOptions>): JwtVerifier =>
  createJwtVerifier(
    {
      secretFile: null,
      jwksUrl: null,
      jwksFile: null,
      issuer: 'https://issuer.test',
      audience: 'fleetshard',
      skewMs: 30_000,
      claim: 'fleetshard',
      ...changed,
    },
    clock,
  )!

const seconds = (ms: number): number => Math.floor(ms / 1000)

const claims = (changed: Record<string, unknown> = {}): SignJWT =>
  new SignJWT({
    sub: 'alice',
    iss: 'https://issuer.test',
    aud: 'fleetshard',
    exp: seconds(clock.now()) + 60,
    fleetshard: ['operator', 'read:app', 'nonsense'],
    ...changed,
  })

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const byHs256 = (changed: Record<string, unknown> = {}): Promise<string> =>
  claims(changed).setProtectedHeader({ alg: 'HS256' }).sign(bytes(secret))

async function keyPair(alg: string, kid: string) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  const jwk: JWK = { ...(await exportJWK(publicKey)), kid, alg }
  const sign = (changed: Record<string, unknown> = {}): Promise<string> =>
    claims(changed).setProtectedHeader({ alg, kid }).sign(privateKey)
  return { publicKey, jwk, sign }
}

const jwks = (...keys: JWK[]): string => JSON.stringify({ keys })
const refused = { code: 'unauthenticated' }

describe('a token by the shared secret', () => {
  let one: JwtVerifier
  beforeEach(() => {
    one = verifier({ secretFile: file('secret', `${secret}\n`) })
  })

  it('says who asks, and what he may do', async () => {
    const { principal, expiresAtMs } = await one.verify(await byHs256())
    expect(principal).toEqual({
      subject: 'alice',
      kind: 'jwt',
      role: 'operator',
      grants: new Map([['app', 'read']]),
    })
    expect(expiresAtMs).toBe((seconds(clock.now()) + 90) * 1000)
  })

  it('may have its scopes as one text', async () => {
    const { principal } = await one.verify(await byHs256({ fleetshard: 'viewer write:*' }))
    expect(principal).toMatchObject({ role: 'viewer', grants: new Map([['*', 'write']]) })
  })

  it.each<[string, Record<string, unknown>]>([
    ['has expired', { exp: seconds(manualClock().now()) - 31 }],
    ['never expires', { exp: undefined }],
    ['is not valid yet', { nbf: seconds(manualClock().now()) + 31 }],
    ['is for others', { aud: 'another' }],
    ['is for nobody', { aud: undefined }],
    ['comes from elsewhere', { iss: 'https://evil.test' }],
    ['names nobody', { sub: undefined }],
    ['names nobody by an empty name', { sub: '' }],
  ])('is refused when it %s', async (_what, changed) => {
    await expect(one.verify(await byHs256(changed))).rejects.toMatchObject(refused)
  })

  it('may be a little late', async () => {
    await one.verify(await byHs256({ exp: seconds(clock.now()) - 29 }))
  })

  it('is refused with another secret, another signature, none at all, and another content', async () => {
    const good = await byHs256()
    const [header, payload, signature] = good.split('.') as [string, string, string]
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const forged = part({
      ...JSON.parse(Buffer.from(payload, 'base64url').toString()),
      fleetshard: ['admin'],
    })
    for (const token of [
      await claims()
        .setProtectedHeader({ alg: 'HS256' })
        .sign(bytes(`${secret}!`)),
      await claims()
        .setProtectedHeader({ alg: 'HS512' })
        .sign(bytes(secret.repeat(2))),
      `${header}.${forged}.${signature}`,
      `${part({ alg: 'none' })}.${payload}.`,
      `${part({ alg: 'none' })}.${payload}.${signature}`,
      `${part({ alg: 'NONE' })}.${forged}.`,
      `${part({ alg: 'HS256', crit: ['x'], x: 1 })}.${payload}.${signature}`,
      `${header}.${payload}.`,
      `${header}.${payload}`,
      'a.b.c',
      '..',
      '',
    ])
      await expect(one.verify(token), token).rejects.toMatchObject(refused)
  })

  it('takes no secret that is too short', async () => {
    const weak = verifier({ secretFile: file('weak', 'short') })
    const token = await claims()
      .setProtectedHeader({ alg: 'HS256' })
      .sign(bytes('short'.repeat(10)))
    await expect(weak.verify(token)).rejects.toMatchObject({ code: 'identity_unavailable' })
  })

  it('follows a secret that is changed', async () => {
    const other = `${secret} of the next year`
    const next = await claims({ exp: seconds(clock.now()) + 600 })
      .setProtectedHeader({ alg: 'HS256' })
      .sign(bytes(other))
    await one.verify(await byHs256())
    file('secret', other)
    clock.advance(30_001)
    await one.verify(next)
    await expect(one.verify(await byHs256())).rejects.toMatchObject(refused)
  })
})

describe('a token of an issuer', () => {
  it.each(['RS256', 'PS256', 'ES256', 'EdDSA'])('by %s is verified by its public key', async (alg) => {
    const pair = await keyPair(alg, 'k1')
    const one = verifier({ jwksFile: file('keys', jwks(pair.jwk)) })
    expect((await one.verify(await pair.sign())).principal.subject).toBe('alice')
    const other = await keyPair(alg, 'k1')
    await expect(one.verify(await other.sign())).rejects.toMatchObject(refused)
  })

  it('cannot be made of the public key used as a shared secret', async () => {
    const pair = await keyPair('RS256', 'k1')
    const one = verifier({ jwksFile: file('keys', jwks(pair.jwk)) })
    const both = verifier({ jwksFile: file('keys', jwks(pair.jwk)), secretFile: file('secret', secret) })
    const pem = await exportSPKI(pair.publicKey)
    for (const material of [pem, pem.trim(), JSON.stringify(pair.jwk), pair.jwk.n!]) {
      const forged = await claims().setProtectedHeader({ alg: 'HS256', kid: 'k1' }).sign(bytes(material))
      await expect(one.verify(forged)).rejects.toMatchObject(refused)
      await expect(both.verify(forged)).rejects.toMatchObject(refused)
    }
    await both.verify(await byHs256())
  })

  it('goes on when keys are rotated in the file, and ends with the old key', async () => {
    const [old, next] = [await keyPair('ES256', 'old'), await keyPair('ES256', 'next')]
    const one = verifier({ jwksFile: file('keys', jwks(old.jwk)) })
    const long = { exp: seconds(clock.now()) + 600 }
    await one.verify(await old.sign(long))
    await expect(one.verify(await next.sign(long))).rejects.toMatchObject(refused)
    file('keys', jwks(next.jwk))
    clock.advance(1_001)
    await one.verify(await next.sign(long))
    clock.advance(30_001)
    await expect(one.verify(await old.sign(long))).rejects.toMatchObject(refused)
  })

  it('by a URL goes on when keys are rotated, and tells an issuer that is away from a bad token', async () => {
    const pair = await keyPair('RS256', 'k1')
    let answer: string | null = jwks(pair.jwk)
    await using issuer = await serve(() => answer)
    const one = verifier({ jwksUrl: issuer.url })
    await one.verify(await pair.sign())
    const other = verifier({ jwksUrl: issuer.url })
    answer = null
    await expect(other.verify(await pair.sign())).rejects.toMatchObject({
      code: 'identity_unavailable',
      retryable: true,
    })
    answer = 'nonsense'
    await expect(other.verify(await pair.sign())).rejects.toMatchObject({ code: 'identity_unavailable' })
    answer = jwks((await keyPair('RS256', 'k2')).jwk)
    await expect(verifier({ jwksUrl: issuer.url }).verify(await pair.sign())).rejects.toMatchObject(refused)
  })
})

it('settings that do not go together are refused', () => {
  expect(() => verifier({ jwksUrl: 'https://a.test/k', jwksFile: '/k' })).toThrow(/both/)
  expect(() => verifier({ jwksFile: '/k', issuer: null })).toThrow(/of which/)
  expect(() => verifier({ jwksUrl: 'http://issuer.test/k' })).toThrow(/https/)
  expect(verifier({})).toBeNull()
})

async function serve(answer: () => string | null): Promise<AsyncDisposable & { url: string }> {
  const server: Server = createServer((_request, response) => {
    const text = answer()
    response.writeHead(text === null ? 500 : 200, { 'content-type': 'application/json' })
    response.end(text ?? '')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address() as { port: number }
  return {
    url: `http://127.0.0.1:${String(address.port)}/keys`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
