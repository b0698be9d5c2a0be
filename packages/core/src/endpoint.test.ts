import { describe, expect, it } from 'vitest'
import { FleetError } from './errors/fleet-error.ts'
import { formatEndpoint, isSameServer, parseEndpoint } from './endpoint.ts'

const parse = (text: string) => parseEndpoint(text, 'primary_endpoint')

function refusal(text: string): FleetError {
  try {
    parse(text)
  } catch (error) {
    if (error instanceof FleetError) return error
  }
  throw new Error(`${text} was not refused`)
}

describe('parseEndpoint', () => {
  it('reads all parts', () => {
    expect(parse('postgres://app:secret@db-1.internal:6543/shop')).toEqual({
      host: 'db-1.internal',
      port: 6543,
      database: 'shop',
      user: 'app',
      password: 'secret',
      tls: 'require',
    })
  })

  it('accepts postgresql:// and takes port 5432 and the database of the user by default', () => {
    expect(parse('postgresql://app@db')).toMatchObject({ port: 5432, database: 'app', password: null })
  })

  it.each([
    ['127.0.0.1', 'disable'],
    ['localhost', 'disable'],
    ['[::1]', 'disable'],
    ['10.0.0.1', 'require'],
    ['[2001:db8::1]', 'require'],
  ])('asks for TLS by where %s is', (host, tls) => {
    expect(parse(`postgres://app@${host}/x`).tls).toBe(tls)
  })

  it('takes the sslmode that is given', () => {
    expect(parse('postgres://app@db/x?sslmode=verify-full').tls).toBe('verify-full')
    expect(parse('postgres://app@db/x?sslmode=disable').tls).toBe('disable')
    expect(refusal('postgres://app@db/x?sslmode=verify-ca').message).toContain('sslmode')
  })

  it('reads a Unix socket from ?host=', () => {
    expect(parse('postgres://app:pw@/x?host=/var/run/postgresql&port=5433')).toMatchObject({
      host: '/var/run/postgresql',
      port: 5433,
      database: 'x',
      tls: 'disable',
    })
    expect(parse('postgres://app@%2Ftmp%2Fsock/x').host).toBe('/tmp/sock')
  })

  it('reads IPv6 addresses', () => {
    expect(parse('postgres://app@[2001:db8::1]:5433/x')).toMatchObject({ host: '2001:db8::1', port: 5433 })
  })

  it('decodes percent-encoded parts, and takes a password with an @ or : as it is', () => {
    expect(parse('postgres://us%40er:p%3Aw%2F%25@db/d%20b')).toMatchObject({
      user: 'us@er',
      password: 'p:w/%',
      database: 'd b',
    })
    expect(parse('postgres://app:p@ss:w@db/x').password).toBe('p@ss:w')
  })

  it.each([
    'mysql://app@db/x',
    'db:5432',
    '',
    'postgres://',
    'postgres:///x',
    'postgres://db/x',
    'postgres://app@/x',
    'postgres://app@db:0/x',
    'postgres://app@db:70000/x',
    'postgres://app@db:abc/x',
    'postgres://app@a,b/x',
    'postgres://app@d b/x',
    'postgres://app:%zz@db/x',
    'postgres://app@db/x?options=-c',
    'postgres://app@db/x?host=relative/path',
    'postgres://app@db/x?port=1&port=2',
    `postgres://app@db/${'x'.repeat(64)}`,
    'postgres://app@db/x#fragment',
  ])('refuses %s', (text) => {
    expect(refusal(text)).toMatchObject({ code: 'invalid_request' })
  })

  it('never repeats the password in a refusal', () => {
    for (const text of [
      'postgres://app:hunter2@a,b/x',
      'postgres://app:hunter2@db:99999/x',
      'pg://a:hunter2@b/c',
    ]) {
      const error = refusal(text)
      expect(`${error.message} ${error.hint ?? ''} ${JSON.stringify(error.facts)}`).not.toContain('hunter2')
    }
  })
})

describe('formatEndpoint', () => {
  it.each([
    'postgres://app@db-1.internal:5432/shop',
    'postgres://app@127.0.0.1:15432/app',
    'postgres://app@[2001:db8::1]:5433/x',
    'postgres://us%40er@db:5432/d%20b',
    'postgres://app@/x?host=/var/run/postgresql&port=5433',
    'postgres://app@db:5432/x?sslmode=verify-full',
    'postgres://app@127.0.0.1:5432/x?sslmode=require',
  ])('writes %s back as it was read', (text) => {
    expect(formatEndpoint(parse(text))).toBe(text)
  })

  it('leaves the password out', () => {
    expect(formatEndpoint(parse('postgres://app:hunter2@db/x'))).not.toContain('hunter2')
  })
})

describe('isSameServer', () => {
  it('takes the names of this machine as one, and ports apart', () => {
    expect(isSameServer({ host: 'localhost', port: 1 }, { host: '127.0.0.1', port: 1 })).toBe(true)
    expect(isSameServer({ host: 'DB', port: 1 }, { host: 'db', port: 1 })).toBe(true)
    expect(isSameServer({ host: 'db', port: 1 }, { host: 'db', port: 2 })).toBe(false)
  })
})
