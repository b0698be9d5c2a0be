import { isFleetError } from '@fleetshard/core'
import { X509Certificate, createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { md5Password, preparePassword } from './password.ts'
import { ScramClient, scramIterationsMax, serverEndPoint } from './scram.ts'

// The example exchange of RFC 7677, section 3; its user name is left out, as Postgres clients do, so the proof is not
// the RFC's. It was computed with an independent implementation (Python's hashlib and hmac).
const nonce = 'rOprNGfwEbeRWgbNEkqO'
const challenge = `r=${nonce}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`

describe('SCRAM-SHA-256', () => {
  it('proves the password, and has the server prove it', async () => {
    const client = new ScramClient({ password: 'pencil', nonce, channelBinding: null })
    expect(client.mechanism).toBe('SCRAM-SHA-256')
    expect(client.first()).toBe(`n,,n=,r=${nonce}`)
    expect(await client.answer(challenge)).toBe(
      `c=biws,r=${nonce}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=qvT2SWdEH5Q06albL+hjSYuUhCG7VndFyzIb7CK4n9k=`,
    )
    expect(client.verify('v=3HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg=')).toBe(true)
    expect(client.verify(`v=${Buffer.alloc(32).toString('base64')}`)).toBe(false)
    expect(client.verify('v=c2hvcnQ=')).toBe(false)
  })

  it('binds to the channel in PLUS', async () => {
    const client = new ScramClient({ password: 'pencil', nonce, channelBinding: Buffer.from('hash') })
    expect(client.mechanism).toBe('SCRAM-SHA-256-PLUS')
    expect(client.first()).toBe(`p=tls-server-end-point,,n=,r=${nonce}`)
    const binding = Buffer.from('p=tls-server-end-point,,hash').toString('base64')
    expect(await client.answer(challenge)).toContain(`c=${binding},`)
  })

  it.each([
    ['a foreign nonce', 'r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096'],
    ['no nonce of its own', `r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`],
    ['no salt', `r=${nonce}x,s=,i=4096`],
    ['no rounds', `r=${nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0`],
    ['too many rounds', `r=${nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=${String(scramIterationsMax + 1)}`],
    ['an error', 'e=other-error'],
  ])('refuses a challenge with %s', async (_what, text) => {
    const client = new ScramClient({ password: 'pencil', nonce, channelBinding: null })
    await expect(client.answer(text)).rejects.toSatisfy((error) => isFleetError(error, 'protocol_violation'))
  })

  it('takes other keys for another password, salt or number of rounds', async () => {
    const proofOf = (password: string, text: string): Promise<string> =>
      new ScramClient({ password, nonce, channelBinding: null }).answer(text)
    const first = await proofOf('pencil', challenge)
    expect(await proofOf('pencil', challenge)).toBe(first)
    const others = await Promise.all([
      proofOf('pencil2', challenge),
      proofOf('pencil', challenge.replace('W22', 'W23')),
      proofOf('pencil', challenge.replace('4096', '4097')),
    ])
    expect(new Set([first, ...others]).size).toBe(4)
    expect(await proofOf('pencil', challenge)).toBe(first)
  })

  it('takes no last word before the challenge', () => {
    const client = new ScramClient({ password: 'pencil', nonce, channelBinding: null })
    expect(() => client.verify('v=AAAA')).toThrow(/out of step/)
  })
})

describe('passwords', () => {
  it('are prepared as Postgres does it', () => {
    expect(preparePassword('plain ascii\t')).toBe('plain ascii\t')
    expect(preparePassword('a\u00a0b\u200bc')).toBe('a b c')
    expect(preparePassword('I\u00adX\u2168')).toBe('IXIX')
    expect(preparePassword('\u00ad')).toBe('\u00ad')
    expect(preparePassword('\u2168\u0007')).toBe('\u2168\u0007')
    expect(preparePassword('\u2168\u{1f600}')).toBe('\u2168\u{1f600}')
  })

  it('are hashed for md5 with user and salt', () => {
    const inner = createHash('md5').update('pwuser').digest('hex')
    const outer = createHash('md5')
      .update(Buffer.concat([Buffer.from(inner), Buffer.from([1, 2, 3, 4])]))
      .digest('hex')
    expect(md5Password('user', 'pw', Buffer.from([1, 2, 3, 4]))).toBe(`md5${outer}`)
  })
})

describe('the binding to a certificate', () => {
  // A self-signed ECDSA certificate with SHA-384, made by openssl for this test.
  const pem = `-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUJhCIy+lQVEFwuKBNUz+eSKVMtB8wCgYIKoZIzj0EAwMw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjEwNDQwNTRaGA8yMTI2MTAyODA0NDA1
NFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABE06
TQ3psUR9bcS4TOLB0Z06kc+/KEGKpeZ6O23BVRqFG8Q1jnzzj/55gOdSO4XCGcyQ
OH8UcRFK+D2MeHHaGXCjUzBRMB0GA1UdDgQWBBSNeN6cYHKmU0FDxKp8HqHIGhYM
hDAfBgNVHSMEGDAWgBSNeN6cYHKmU0FDxKp8HqHIGhYMhDAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMDA0gAMEUCIQCzwTpDQUNzjPhqRPxjycpos/AAU8L/R5d8
BzwohUey8gIgAbYU/ohFmI93ze4nCV00+fKremF+ACt9T5+joSOd4KA=
-----END CERTIFICATE-----`

  it('takes the hash of the signature algorithm', () => {
    const der = new X509Certificate(pem).raw
    expect(serverEndPoint(der)).toEqual(createHash('sha384').update(der).digest())
  })

  it('is none for what is not a certificate', () => {
    const der = new X509Certificate(pem).raw
    for (let length = 0; length < der.length; length += 1)
      expect(serverEndPoint(der.subarray(0, length))).toBeNull()
    expect(serverEndPoint(Buffer.alloc(100, 0x30))).toBeNull()
  })
})
