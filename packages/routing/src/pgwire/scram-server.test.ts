// Both sides of SCRAM against each other, and a login by the keys that one exchange has shown.
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { ScramClient } from './scram.ts'
import { parseScramVerifier, ScramServer, unknownUserVerifier, type ScramVerifier } from './scram-server.ts'

const salt = Buffer.from('0123456789abcdef')
const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()

function verifierText(password: string, iterations = 4096): string {
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256')
  const stored = createHash('sha256').update(hmac(salted, 'Client Key')).digest('base64')
  const server = hmac(salted, 'Server Key').toString('base64')
  return `SCRAM-SHA-256$${String(iterations)}:${salt.toString('base64')}$${stored}:${server}`
}

function verifierOf(password: string): ScramVerifier {
  const verifier = parseScramVerifier(verifierText(password))
  if (verifier === null) throw new Error('not a verifier')
  return verifier
}

const begin = (password: ConstructorParameters<typeof ScramClient>[0]['password']): ScramClient =>
  new ScramClient({ password, nonce: 'client-nonce', channelBinding: null })

describe('the server of a SCRAM exchange', () => {
  it('lets in who knows the password, and proves that it knows it too', async () => {
    const client = begin('secret')
    const server = new ScramServer(verifierOf('secret'), 'server-nonce')
    const challenge = server.challenge(client.first())
    expect(challenge).toContain('r=client-nonceserver-nonce,')
    const outcome = server.finish(await client.answer(challenge ?? ''))
    expect(outcome.kind).toBe('ok')
    expect(outcome.kind === 'ok' && client.verify(outcome.final)).toBe(true)
  })

  it('shows keys by which the same user logs in again, to servers with that verifier only', async () => {
    const client = begin('secret')
    const server = new ScramServer(verifierOf('secret'), 'one')
    const outcome = server.finish(await client.answer(server.challenge(client.first()) ?? ''))
    if (outcome.kind !== 'ok') throw new Error('the login failed')
    const later = begin(outcome.keys)
    const shard = new ScramServer(verifierOf('secret'), 'two')
    expect(shard.finish(await later.answer(shard.challenge(later.first()) ?? '')).kind).toBe('ok')
    const other = new ScramServer({ ...verifierOf('secret'), salt: Buffer.from('another salt') }, 'three')
    const refused = begin(outcome.keys)
    await expect(refused.answer(other.challenge(refused.first()) ?? '')).rejects.toMatchObject({
      code: 'login_refused',
    })
  })

  it('refuses a wrong password, and users who do not exist in the same way', async () => {
    for (const verifier of [verifierOf('secret'), unknownUserVerifier(Buffer.from('seed'), 'nobody')]) {
      const client = begin('wrong')
      const server = new ScramServer(verifier, 'server-nonce')
      expect(server.finish(await client.answer(server.challenge(client.first()) ?? '')).kind).toBe('refused')
    }
    const seed = Buffer.from('seed')
    expect(unknownUserVerifier(seed, 'a').salt).toEqual(unknownUserVerifier(seed, 'a').salt)
    expect(unknownUserVerifier(seed, 'a').salt).not.toEqual(unknownUserVerifier(seed, 'b').salt)
  })

  it.each(['', 'n,,', 'p=tls-server-end-point,,n=,r=x', 'n,,n=,r=', 'x,,n=,r=abc'])(
    'takes %j for no first message',
    (first) => {
      expect(new ScramServer(verifierOf('secret'), 'n').challenge(first)).toBe(null)
    },
  )

  it('refuses last messages of another exchange', async () => {
    const client = begin('secret')
    const server = new ScramServer(verifierOf('secret'), 'server-nonce')
    const last = await client.answer(server.challenge(client.first()) ?? '')
    for (const changed of [
      '',
      last.replace('r=client', 'r=other'),
      last.replace('c=biws', 'c=eSws'),
      last.slice(0, -4),
    ]) {
      expect(server.finish(changed).kind).toBe('malformed')
    }
  })
})

describe('a verifier', () => {
  it.each([
    '',
    'md5abcdef',
    'secret',
    verifierText('x').replace('4096', '99999999'),
    verifierText('x').slice(0, -2),
  ])('is not %j', (text) => {
    expect(parseScramVerifier(text)).toBe(null)
  })
})
