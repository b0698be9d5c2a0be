import { isFleetError, toProblem } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import { connectError, formatAddress, networkFailure, PgServerError, refusalOf, sqlError } from './errors.ts'

const fieldsOf = (code: string): { severity: string; code: string; message: string } => ({
  severity: 'ERROR',
  code,
  message: 'no',
})
const address = { host: '10.0.0.1', port: 5432, database: 'app', user: 'bob' }

describe('an error of Postgres', () => {
  it.each([
    ['42601', 400, false],
    ['22P02', 400, false],
    ['23502', 400, false],
    ['23505', 409, false],
    ['23503', 409, false],
    ['40001', 409, true],
    ['40P01', 409, true],
    ['55P03', 409, true],
    ['42501', 403, false],
    ['57014', 504, true],
    ['53300', 503, true],
    ['53100', 503, true],
    ['57P01', 503, true],
    ['57P03', 503, true],
    ['40003', 500, false],
    ['XX000', 500, false],
    ['0A000', 400, false],
    ['P0001', 400, false],
  ])('with SQLSTATE %s has HTTP status %i and retryable %s', (code, status, retryable) => {
    const error = sqlError(fieldsOf(code))
    expect(error).toMatchObject({ code: 'sql_error', sqlstate: code, status, retryable, message: 'no' })
  })

  it('passes on all that it says, also through problem+json', () => {
    const error = sqlError({
      ...fieldsOf('23505'),
      detail: 'Key (id)=(1) already exists.',
      hint: 'take another',
      position: 7,
      schema: 'public',
      table: 't',
      constraint: 't_pkey',
    })
    expect(error.hint).toBe('take another')
    expect(error.cause).toBeInstanceOf(PgServerError)
    expect(toProblem(error, 'trace')).toMatchObject({
      detail: 'no',
      sqlstate: '23505',
      pg_detail: 'Key (id)=(1) already exists.',
      position: 7,
      schema: 'public',
      table: 't',
      constraint: 't_pkey',
    })
    expect(error.facts).not.toHaveProperty('column')
  })

  it('with a SQLSTATE of our own is the error that it stands for', () => {
    expect(sqlError(fieldsOf('FS001'))).toMatchObject({ code: 'stale_map', retryable: true, status: 503 })
    expect(sqlError(fieldsOf('FS002'))).toMatchObject({ code: 'wrong_database', retryable: false })
  })
})

describe('a failed connect', () => {
  it('names the address, the database and the user', () => {
    const refused = networkFailure(Object.assign(new Error('x'), { code: 'ECONNREFUSED' }))
    const error = connectError(address, refused)
    expect(isFleetError(error, 'shard_unavailable')).toBe(true)
    expect(error.message).toBe('cannot connect to 10.0.0.1:5432 (database app, user bob): connection refused')
    expect(error.hint).toMatch(/no server listens/)
    expect(error.retryable).toBe(true)
  })

  it('is not worth a retry when the password is wrong', () => {
    const error = connectError(address, refusalOf(fieldsOf('28P01')))
    expect(error.retryable).toBe(false)
    expect(error.facts).toMatchObject({ server_sqlstate: '28P01', host: '10.0.0.1' })
    expect(connectError(address, refusalOf(fieldsOf('57P03'))).retryable).toBe(true)
  })

  it('looks into the several addresses of a name', () => {
    const both = new AggregateError([Object.assign(new Error('x'), { code: 'EHOSTUNREACH' })])
    expect(networkFailure(both)).toMatchObject({ reason: 'EHOSTUNREACH' })
  })

  it.each([
    ['/run/pg', '/run/pg/.s.PGSQL.5432'],
    ['::1', '[::1]:5432'],
    ['db', 'db:5432'],
  ])('writes the address of %s', (host, text) => {
    expect(formatAddress({ host, port: 5432 })).toBe(text)
  })
})
