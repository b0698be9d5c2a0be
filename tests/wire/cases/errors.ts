// Errors in every phase, with all their fields, and what a session is worth after them.
import {
  ask,
  bind,
  copyData,
  describe,
  execute,
  extended,
  functionCall,
  message,
  parse,
  query,
  say,
  sync,
  type WireCase,
} from '../script.ts'

/** Cases of what goes wrong. */
export const errorCases: readonly WireCase[] = [
  { name: 'syntax error with its position', steps: [ask('SELECT 1 FRM x', 'EZ'), ask('SELECT 1', 'TDCZ')] },
  { name: 'position counts characters', steps: [ask("SELECT 'äöü€', wrong FROM wire_items", 'EZ')] },
  { name: 'unknown table', steps: [ask('SELECT * FROM wire_nothing', 'EZ')] },
  { name: 'unknown column with a hint', steps: [ask('SELECT nam FROM wire_items', 'EZ')] },
  { name: 'unknown function', steps: [ask('SELECT wire_unknown(1)', 'EZ')] },
  { name: 'unique violation', steps: [ask("INSERT INTO wire_items (id, name) VALUES (1, 'x')", 'EZ')] },
  { name: 'foreign key violation', steps: [ask('DELETE FROM wire_items WHERE id = 1', 'EZ')] },
  { name: 'not null violation', steps: [ask('INSERT INTO wire_items (id) VALUES (80)', 'EZ')] },
  { name: 'check violation', steps: [ask("INSERT INTO wire_items VALUES (80, 'x', -1)", 'EZ')] },
  {
    name: 'division by zero at Execute',
    steps: [say(extended('SELECT 1 / (id - 1) FROM wire_items WHERE id = $1', ['1']), '12TEZ')],
  },
  { name: 'an error between rows', steps: [ask('SELECT 1 / (3 - g) FROM generate_series(1, 5) g', 'TDDEZ')] },
  { name: 'an error with all fields', steps: [ask("SELECT wire_fail('x')", '[TE]{1,2}Z')] },
  { name: 'an error at Parse', steps: [say([parse('s1', 'SELECT wrong'), describe('S', 's1'), sync], 'EZ')] },
  {
    name: 'an error at Bind: too few parameters',
    steps: [say([parse('', 'SELECT $1::int'), bind(), execute(), sync], '1EZ')],
  },
  {
    name: 'an error at Bind: too many parameters',
    steps: [say([parse('', 'SELECT 1'), bind({ params: ['1'] }), sync], '1EZ')],
  },
  {
    name: 'an error at Bind: text that is no number',
    steps: [say(extended('SELECT $1::int', ['no number']), '1EZ')],
  },
  {
    name: 'an error at Bind: unknown statement',
    steps: [say([bind({ statement: 'nope' }), execute(), sync], 'EZ')],
  },
  { name: 'an error at Bind: no unnamed statement', steps: [say([bind(), execute(), sync], 'EZ')] },
  { name: 'an error at Describe: unknown statement', steps: [say([describe('S', 'nope'), sync], 'EZ')] },
  { name: 'an error at Describe: unknown portal', steps: [say([describe('P', 'nope'), sync], 'EZ')] },
  { name: 'an error at Execute: unknown portal', steps: [say([execute('nope'), sync], 'EZ')] },
  {
    name: 'an error at Bind: result formats that don’t fit',
    steps: [say([parse('', 'SELECT 1, 2'), bind({ resultFormats: [0, 1, 0] }), sync], '1EZ')],
  },
  {
    name: 'a type that can’t be found out',
    steps: [say([parse('', 'SELECT $1, $2', [0, 999_999]), sync], 'EZ')],
  },
  {
    name: 'cached plan must not change result type',
    steps: [
      ask('BEGIN', 'CZ'),
      ask('CREATE TEMPORARY TABLE wire_plan (a int)', 'CZ'),
      say([parse('s1', 'SELECT * FROM wire_plan'), bind({ statement: 's1' }), execute(), sync], '12CZ'),
      ask('ALTER TABLE wire_plan ADD COLUMN b text', 'CZ'),
      say([bind({ statement: 's1' }), execute(), sync], 'EZ'),
      ask('ROLLBACK', 'CZ'),
    ],
  },
  {
    name: 'bytes that are no text in a parameter',
    steps: [
      say(
        [parse('', 'SELECT $1::text'), bind({ params: [Buffer.from([0xff, 0xfe])] }), execute(), sync],
        '1EZ',
      ),
    ],
  },
  {
    name: 'bytes that are no text in a statement',
    steps: [
      say(
        message('Q', (out) => {
          out.raw(Buffer.from("SELECT '\xff\xfe'", 'latin1'))
          out.uint8(0)
        }),
        'EZ',
      ),
      ask('SELECT 1', 'TDCZ'),
    ],
  },
  {
    name: 'a zero in a parameter',
    steps: [
      say([parse('', 'SELECT $1::text'), bind({ params: [Buffer.from('a\0b')] }), execute(), sync], '1EZ'),
    ],
  },
  {
    name: 'half a binary number',
    steps: [
      say(
        [parse('', 'SELECT $1::int', [23]), bind({ params: [Buffer.from([1, 2])] }), execute(), sync],
        '1EZ',
      ),
    ],
  },
  { name: 'CopyData outside COPY is passed over', steps: [say([copyData('x'), query('SELECT 1')], 'TDCZ')] },
  { name: 'a message of an unknown type ends the session', steps: [say(message('y'), 'E!')] },
  {
    name: 'a Describe of neither statement nor portal',
    steps: [
      say(
        [
          message('D', (out) => {
            out.uint8(0x58)
            out.uint8(0)
          }),
          sync,
        ],
        'EZ',
      ),
      ask('SELECT 1', 'TDCZ'),
    ],
  },
  {
    name: 'a Query that lacks its end',
    steps: [say([message('Q', (out) => out.raw(Buffer.from('SELECT 1')))], 'EZ')],
  },
  {
    name: 'a Bind that ends too early',
    steps: [
      say([parse('', 'SELECT 1'), message('B', (out) => out.raw(Buffer.from([0, 0, 0]))), sync], '1EZ'),
    ],
  },
  { name: 'terminate', steps: [say(message('X'), '!')] },
  {
    name: 'a function call of the protocol',
    // 1397 is abs(int4); 954 and 955 read and write what 952 has opened, of a large object that 715 makes.
    steps: [
      say(functionCall(1397, ['-5']), 'VZ'),
      say(functionCall(999_999, []), 'EZ'),
      say(functionCall(1397, ['five']), 'EZ'),
      say(
        message('F', (out) => out.int32(1397)),
        'EZ',
      ),
      ask('BEGIN', 'CZ'),
      say(functionCall(715, ['4711']), 'VZ'),
      say(functionCall(952, ['4711', '393216']), 'VZ'),
      say(functionCall(955, ['0', '\\x6c6f']), 'VZ'),
      ask('SELECT lo_lseek(0, 1, 0)', 'TDCZ'),
      say(functionCall(954, ['0', '9']), 'VZ'),
      say(functionCall(955, ['1', 'x']), 'EZ'),
      say(functionCall(1397, ['-5']), 'EZ'),
      ask('ROLLBACK', 'CZ'),
      ask('SELECT 1', 'TDCZ'),
    ],
  },
  {
    name: 'a function call instead of the sync',
    steps: [say([parse('', 'SELECT 1'), bind(), execute(), functionCall(1397, ['-5'])], '12DCVZ')],
  },
  {
    name: 'function calls among messages of the extended protocol',
    steps: [
      say([parse('', 'SELECT 1/0'), bind(), execute(), functionCall(1397, ['-5']), sync], '1EZ'),
      // It leaves the statement without a name as it is.
      say([parse('', 'SELECT 2'), sync], '1Z'),
      say(functionCall(1397, ['-5']), 'VZ'),
      say([bind(), execute(), sync], '2DCZ'),
    ],
  },
  {
    name: 'cancel of a running statement',
    steps: [
      ask("SELECT pg_sleep(60), 'wire-cancel-1'", ''),
      { kind: 'until-running', text: 'wire-cancel-1' },
      { kind: 'cancel', session: 0 },
      say(Buffer.alloc(0), 'T?EZ'),
      ask('SELECT 1', 'TDCZ'),
    ],
  },
  {
    name: 'cancel of nothing',
    steps: [
      ask('SELECT 1', 'TDCZ'),
      { kind: 'cancel', session: 0 },
      ask('SELECT count(*) FROM wire_items', 'TDCZ'),
    ],
  },
  {
    name: 'cancel within a transaction',
    steps: [
      ask('BEGIN', 'CZ'),
      ask("SELECT pg_sleep(60), 'wire-cancel-2'", ''),
      { kind: 'until-running', text: 'wire-cancel-2' },
      { kind: 'cancel', session: 0 },
      say(Buffer.alloc(0), 'T?EZ'),
      ask('SELECT 1', 'EZ'),
      ask('ROLLBACK', 'CZ'),
    ],
  },
  {
    name: 'statement_timeout',
    steps: [
      ask("SET statement_timeout = '20ms'", 'CZ'),
      ask('SELECT pg_sleep(60)', 'T?EZ'),
      ask('RESET statement_timeout', 'CZ'),
    ],
  },
]
