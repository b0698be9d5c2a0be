// Values: what goes in comes out, and comes out the same in both modes.
import { expect, it } from 'vitest'
import type { ConformanceContext } from '../conformance.ts'
import { failureOf } from '../failure.ts'

/** SQL expressions with the value that the client gives for them. */
const VALUES: readonly (readonly [expression: string, value: unknown])[] = [
  ['null::text', null],
  [`'é"\\\n'::text`, 'é"\\\n'],
  ['1::int2', 1],
  ['(-2147483648)::int4', -2147483648],
  ['9007199254740993::int8', '9007199254740993'],
  ['1.50::numeric', '1.50'],
  [`'NaN'::numeric`, 'NaN'],
  ['0.1::float8', 0.1],
  ['1e300::float8', 1e300],
  ['-1e-7::float8', -1e-7],
  [`'-0'::float8`, -0],
  [`'NaN'::float8`, 'NaN'],
  [`'-Infinity'::float4`, '-Infinity'],
  ['true', true],
  ['false', false],
  [`'{"a":[1,null,"x"]}'::jsonb`, { a: [1, null, 'x'] }],
  [`'null'::json`, null],
  [`'\\x00ff10'::bytea`, Uint8Array.of(0, 255, 16)],
  [`''::bytea`, new Uint8Array()],
  [`array['\\x01'::bytea, null]`, [Uint8Array.of(1), null]],
  ['array[1, null, 3]::int4[]', [1, null, 3]],
  ['array[1, 2]::int8[]', ['1', '2']],
  [
    'array[[1,2],[3,4]]',
    [
      [1, 2],
      [3, 4],
    ],
  ],
  [`array['a,b', 'c"d', '\\', 'NULL', null]`, ['a,b', 'c"d', '\\', 'NULL', null]],
  [`'{}'::text[]`, []],
  [`array[true, false]`, [true, false]],
  [`array['{"a":1}'::jsonb]`, [{ a: 1 }]],
  [`array[1.5, 'NaN']::float8[]`, [1.5, 'NaN']],
  [`'2026-01-02 03:04:05.6'::timestamp`, '2026-01-02 03:04:05.6'],
  [`'2026-01-02'::date`, '2026-01-02'],
  [`'1 day 2 hours'::interval`, '1 day 02:00:00'],
  [`'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid`, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  [`'ok'::mood`, 'ok'],
  [`row(1, 'x')`, '(1,x)'],
  [`int4range(1, 5)`, '[1,5)'],
]

/** Parameters with a cast, and what comes back. */
const ROUND_TRIPS: readonly (readonly [value: never, cast: string, back: unknown])[] = [
  ['text' as never, 'text', 'text'],
  [42 as never, 'int4', 42],
  [1.5 as never, 'float8', 1.5],
  [NaN as never, 'float8', 'NaN'],
  [-Infinity as never, 'float8', '-Infinity'],
  [12345678901234567890n as never, 'numeric', '12345678901234567890'],
  [true as never, 'bool', true],
  [null as never, 'int4', null],
  [new Date('2026-01-02T03:04:05.006Z') as never, 'timestamptz', expect.stringMatching(/^2026-01-0/)],
  [Uint8Array.of(0, 1, 254) as never, 'bytea', Uint8Array.of(0, 1, 254)],
  [[Uint8Array.of(9), null] as never, 'bytea[]', [Uint8Array.of(9), null]],
  [[1, 2, null] as never, 'int4[]', [1, 2, null]],
  [['a', 'b"c', '{}'] as never, 'text[]', ['a', 'b"c', '{}']],
  [[1n, 2n] as never, 'int8[]', ['1', '2']],
  [{ a: [1, { b: null }] } as never, 'jsonb', { a: [1, { b: null }] }],
  [[1, 'x'] as never, 'jsonb', [1, 'x']],
]

/** The cases. */
export function valueCases(context: () => ConformanceContext): void {
  it.each(VALUES)('reads %s', async (expression, value) => {
    const { rows } = await context().db.query(`select ${expression} as v`)
    expect(rows).toStrictEqual([{ v: value }])
  })

  it.each(ROUND_TRIPS)('sends %s as %s', async (value, cast, back) => {
    const { rows } = await context().db.query(`select $1::${cast} as v`, [value])
    expect(rows).toEqual([{ v: back }])
  })

  it('keeps what SQL would read as its own inside parameters', async () => {
    const evil = `'; drop table users; --`
    expect(await context().db.sql`select ${evil} as v`).toEqual([{ v: evil }])
  })

  it('refuses undefined, naming the parameter, before anything is sent', async () => {
    const error = await failureOf(context().db.query('select $1::text, $2::text', ['a', undefined as never]))
    expect(error).toMatchObject({ code: 'parameter_type', outcome: 'aborted' })
    expect(error.message).toContain('$2')
    const nested = await failureOf(context().db.query('select $1::text[]', [['a', undefined as never]]))
    expect(nested.message).toContain('$1[1]')
  })

  it.each([
    ['a function', () => undefined],
    ['a symbol', Symbol('x')],
    ['an invalid date', new Date(NaN)],
    ['an object with a bigint', { a: 1n }],
    ['half of a surrogate pair', '\ud800'],
    ['a NUL character', 'a\0b'],
  ])('refuses %s', async (_name, value) => {
    const error = await failureOf(context().db.query('select $1::text', [value as never]))
    expect(error.code).toBe('parameter_type')
  })

  it('gives a column named __proto__ as a field of its own', async () => {
    const { rows } = await context().db.query('select 1 as "__proto__", 2 as a')
    expect(Object.keys(rows[0] ?? {})).toEqual(['__proto__', 'a'])
  })

  it('refuses two columns of one name before it runs', async () => {
    const error = await failureOf(context().db.query('select 1 as a, 2 as a'))
    expect(error.code).toBe('statement_refused')
  })

  it('tells the columns', async () => {
    const { columns } = await context().db.query(`select 1 as i, 'x'::text as t, array[1] as l`)
    expect(columns).toEqual([
      { name: 'i', type: 'int4' },
      { name: 't', type: 'text' },
      { name: 'l', type: 'int4[]' },
    ])
  })
}
