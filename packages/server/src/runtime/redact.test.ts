import fc from 'fast-check'
import { FleetError } from '@fleetshard/core'
import { describe, expect, test } from 'vitest'
import { loggedError, redactText } from './redact.ts'

const secret = 'hunter2hunter2'

describe('what looks like a secret', () => {
  test.each([
    [`postgres://app:${secret}@db:5432/app`, 'postgres://app:[redacted]@db:5432/app'],
    [`{"password":"${secret}","host":"db"}`, '{"password":"[redacted]","host":"db"}'],
    [`{\\"password\\":\\"${secret}\\"}`, '{\\"password\\":\\"[redacted]\\"}'],
    [`host=db password=${secret} user=app`, 'host=db password=[redacted] user=app'],
    [`authorization: Bearer ${secret}`, 'authorization: [redacted]'],
    [`sent bearer ${secret} to`, 'sent bearer [redacted] to'],
    [`alter role app password '${secret}'`, "alter role app password '[redacted]'".replaceAll("'", '')],
    ['token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl here', 'token [redacted] here'],
    [`-----BEGIN EC PRIVATE KEY-----\n${secret}\n-----END EC PRIVATE KEY-----`, '[redacted]'],
    [`x SCRAM-SHA-256$4096:abc$def:ghi`, 'x [redacted]'],
  ])('in %s is taken out', (text, shown) => {
    expect(redactText(text)).toBe(shown)
  })

  test.each([
    'postgres://app@db:5432/app',
    'secretRef "catalog:agent-local" tokenRef: null',
    'the token of the agent is missing or wrong',
    'password authentication failed for user "app"',
    'https://example.com/a:b@c is odd, and so is a@b.c:1',
  ])('is not seen in: %s', (text) => {
    expect(redactText(text)).toBe(text)
  })
})

test('what is known to be a secret is taken out, however it is written', () => {
  fc.assert(
    fc.property(
      fc.string({ minLength: 6, maxLength: 30 }),
      fc.constantFrom(
        (text: string) => text,
        (text: string) => JSON.stringify({ a: text }),
        (text: string) => `x?y=${encodeURIComponent(text)}`,
        (text: string) => Buffer.from(text).toString('base64'),
      ),
      (known, write) => {
        fc.pre(!'[redacted]{"a":"x?y='.includes(known) && known.isWellFormed())
        const shown = redactText(`before ${write(known)} after`, [known])
        expect(shown).toContain('[redacted]')
        expect(shown.replaceAll('[redacted]', '')).not.toContain(known)
      },
    ),
  )
})

// What grew by the square of its length would not come to an end.
test('comes to an end, whatever it is given', () => {
  expect(redactText('password='.repeat(50_000))).toContain('[redacted]')
  expect(redactText(`a://${'b'.repeat(300_000)}`)).toHaveLength(300_004)
  expect(redactText('-----BEGIN PRIVATE KEY-----'.repeat(5_000))).toContain('[redacted]')
})

describe('an error in the log', () => {
  test('has code, message, frames and causes, and nothing that a driver adds', () => {
    const cause = Object.assign(new Error(`duplicate key value violates unique constraint "users_pkey"`), {
      code: '23505',
      severity: 'ERROR',
      detail: `Key (email)=(${secret}) already exists.`,
      where: secret,
      query: secret,
    })
    const logged = loggedError(new FleetError('sql_error', 'a statement failed', { cause }))
    expect(logged).toMatchObject({
      code: 'sql_error',
      message: 'a statement failed',
      cause: { code: '23505', message: 'duplicate key value violates unique constraint "…"' },
    })
    expect(logged.stack).toMatch(/^\s+at /)
    expect(JSON.stringify(logged)).not.toContain(secret)
  })

  test('has no secret of its message', () => {
    expect(loggedError(new Error(`cannot reach postgres://a:${secret}@b/c`)).message).toBe(
      'cannot reach postgres://a:[redacted]@b/c',
    )
    expect(loggedError(secret)).toEqual({
      type: 'string',
      message: 'something else than an error was thrown',
    })
  })

  test('does not follow causes for ever', () => {
    const error = new Error('round')
    error.cause = error
    expect(JSON.stringify(loggedError(error)).match(/round/g)).toHaveLength(5)
  })
})
