import { Type } from 'typebox'
import { describe, expect, it } from 'vitest'
import { FleetError } from '../errors/fleet-error.ts'
import { compileParser } from './parse.ts'
import { JobListQuery } from './jobs.ts'
import { closed, nullable, oneOf } from './schema.ts'
import { CreateShard, ShardListQuery } from './shards.ts'

const parse = compileParser(
  closed({
    name: Type.String({ minLength: 2, pattern: '^a' }),
    size: Type.Optional(Type.Integer({ minimum: 1 })),
    color: Type.Optional(oneOf(['red', 'blue'])),
    note: Type.Optional(nullable(Type.String())),
    only: Type.Optional(oneOf(['this'])),
    parts: Type.Optional(Type.Array(closed({ id: Type.String() }), { maxItems: 2 })),
  }),
  'body',
)

function refusal(value: unknown): string {
  try {
    parse(value)
  } catch (error) {
    if (error instanceof FleetError && error.code === 'invalid_request') return error.message
  }
  throw new Error('not refused')
}

describe('compileParser', () => {
  it('returns what fits as it is', () => {
    const value = { name: 'ab', size: 1, color: 'red', note: null, parts: [{ id: 'x' }] }
    expect(parse(value)).toBe(value)
  })

  it.each([
    [{ name: 'ab', foo: 1 }, 'the body has unknown field "foo"'],
    [{ name: 'ab', foo: 1, bar: 2 }, 'the body has unknown fields "foo", "bar"'],
    [{}, 'the body lacks the required field "name"'],
    [{ name: 7 }, 'name must be string'],
    [{ name: 'ab', size: 0 }, 'size must be >= 1'],
    [{ name: 'ab', size: 1.5 }, 'size must be integer'],
    [{ name: 'ab', color: 'green' }, 'color must be one of "red", "blue"'],
    [{ name: 'ab', note: 3 }, 'note must be string or null'],
    [{ name: 'ab', only: 'other' }, 'only must be "this"'],
    [{ name: 'ab', parts: [{ id: 'x' }, { id: 'y', extra: 1 }] }, 'parts[1] has unknown field "extra"'],
    [{ name: 'ab', parts: [1] }, 'parts[0] must be object'],
    [{ name: 'bb' }, 'name must match ^a'],
    [null, 'the body must be object'],
    [[], 'the body must be object'],
    [undefined, 'the body must be object'],
  ])('says what is wrong with %j', (value, message) => {
    expect(refusal(value)).toContain(message)
  })

  it('names a bounded number of fields', () => {
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`field_${String(i)}`, i]))
    expect(refusal({ name: 'ab', ...many }).length).toBeLessThan(500)
    const message = refusal({ name: 'ab', parts: Array.from({ length: 50 }, () => 1) })
    expect(message).toMatch(/and \d+ more/)
  })

  it('converts the texts of a query string, and only there', () => {
    const query = compileParser(ShardListQuery, 'query', true)
    expect(query({ vnodes: 'false', status: 'active' })).toEqual({ vnodes: false, status: 'active' })
    for (const vnodes of ['perhaps', '1', '', 'TRUE']) expect(() => query({ vnodes })).toThrow('vnodes')
    const jobs = compileParser(JobListQuery, 'query', true)
    expect(jobs({ limit: '10' })).toEqual({ limit: 10 })
    for (const limit of ['true', '0x10', '1e2', ' 1', '1.5']) expect(() => jobs({ limit })).toThrow('limit')
    const body = compileParser(CreateShard, 'body')
    expect(() => body({ name: 'a', vnode_count: '256' })).toThrow('vnode_count must be integer')
  })
})
