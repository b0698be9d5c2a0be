// Values in text and binary, in and out, of every kind that drivers read by themselves; large ones; many.
import { bind, describe, execute, parse, say, sync, type WireCase } from '../script.ts'

const int4 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

/** Parse, Bind with formats, Describe, Execute. */
function formatted(
  text: string,
  params: readonly (string | null | Buffer)[],
  resultFormats: readonly (0 | 1)[],
): Buffer {
  return Buffer.concat([parse('', text), bind({ params, resultFormats }), describe('P'), execute(), sync])
}

const kinds = `SELECT true, 1::int2, 2::int4, 3::int8, 1.5::float4, 2.5::float8, 123.4500::numeric, 'NaN'::numeric,
  'text'::text, 'c'::"char", 'ab'::char(4), '\\xdead'::bytea, '2024-02-29'::date, '12:34:56.789'::time,
  '2024-02-29 12:00:00.5'::timestamp, '2024-02-29 12:00:00+02'::timestamptz, '1 mon 2 days 03:00:00'::interval,
  'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '{"a": [1, 2]}'::jsonb, '{"b" : 1}'::json, '{1,NULL,3}'::int[],
  '{{a,b},{c,d}}'::text[], '[1,5)'::int4range, '192.168.0.1/24'::inet, '(1,2)'::point, B'1011'::bit(4),
  'high'::wire_mood, ROW(1, 'x'), '12.34'::money, '08:00:2b:01:02:03'::macaddr, 'fat & cat'::tsquery,
  '<a>1</a>'::text, '0/16B3748'::pg_lsn, 'infinity'::timestamptz, '-infinity'::date`

/** Cases of values. */
export const formatCases: readonly WireCase[] = [
  { name: 'all kinds in text', steps: [say(formatted(kinds, [], [0]), '12TDCZ')] },
  { name: 'all kinds in binary', steps: [say(formatted(kinds, [], [1]), '12TDCZ')] },
  {
    name: 'a format for each column',
    steps: [say(formatted('SELECT id, name, price FROM wire_items ORDER BY id', [], [1, 0, 1]), '12TD{5}CZ')],
  },
  {
    name: 'rows of a table in binary',
    steps: [say(formatted('SELECT * FROM wire_items ORDER BY id', [], [1]), '12TD{5}CZ')],
  },
  {
    name: 'parameters in binary',
    steps: [
      say(
        formatted(
          'SELECT $1::int + 1, $2::text, $3::bytea',
          [int4(41), Buffer.from('bin'), Buffer.from([0, 255])],
          [1],
        ),
        '12TDCZ',
      ),
    ],
  },
  {
    name: 'parameters in text and binary',
    steps: [
      say(
        formatted(
          'SELECT id, name FROM wire_items WHERE id = $1 OR name = $2 ORDER BY id',
          [int4(1), 'two'],
          [0],
        ),
        '12TDDCZ',
      ),
    ],
  },
  {
    name: 'parameters that are NULL',
    steps: [say(formatted('SELECT $1::int, $2::text IS NULL', [null, null], [0]), '12TDCZ')],
  },
  {
    name: 'an empty parameter',
    steps: [say(formatted("SELECT $1::text = '', length($1::text)", [''], [0]), '12TDCZ')],
  },
  {
    name: 'a large parameter',
    steps: [say(formatted('SELECT length($1::text), md5($1::text)', ['z'.repeat(3_000_000)], [0]), '12TDCZ')],
  },
  {
    name: 'a large parameter there and back',
    steps: [say(formatted('SELECT $1::bytea', [Buffer.alloc(1_500_000, 7)], [1]), '12TDCZ')],
  },
  {
    name: 'a thousand parameters',
    steps: [
      say(
        formatted(
          `SELECT ${Array.from({ length: 1000 }, (_, index) => `$${String(index + 1)}::int`).join(' + ')}`,
          Array.from({ length: 1000 }, (_, index) => String(index)),
          [0],
        ),
        '12TDCZ',
      ),
    ],
  },
  {
    name: 'arrays as parameters',
    steps: [
      say(
        formatted('SELECT id FROM wire_items WHERE id = ANY($1::int[]) ORDER BY id', ['{1,3,5}'], [0]),
        '12TD{3}CZ',
      ),
      say(formatted('SELECT unnest($1::text[])', ['{"a b",NULL,"c\\"d"}'], [0]), '12TD{3}CZ'),
    ],
  },
  {
    name: 'text outside the first plane of Unicode',
    steps: [
      say(
        formatted('SELECT $1::text, length($1::text), octet_length($1::text)', ['𝄞 🐘 \u{10ffff}'], [0]),
        '12TDCZ',
      ),
    ],
  },
  {
    name: 'jsonb there and back',
    steps: [
      say(
        formatted(
          'UPDATE wire_items SET doc = $1 WHERE id = 1 RETURNING doc',
          ['{"ключ": [1.50, "\\u0041", null]}'],
          [0],
        ),
        '12TDCZ',
      ),
      say(formatted('SELECT doc FROM wire_items WHERE id = 1', [], [1]), '12TDCZ'),
    ],
  },
  {
    name: 'wide rows',
    steps: [
      say(
        formatted(
          `SELECT ${Array.from({ length: 1500 }, (_, index) => `${String(index)} AS c${String(index)}`).join(', ')}`,
          [],
          [0],
        ),
        '12TDCZ',
      ),
    ],
  },
]
