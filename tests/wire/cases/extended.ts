// The extended protocol: statements and portals, named and not, descriptions, limits, pipelines.
import {
  ask,
  bind,
  close,
  describe,
  execute,
  extended,
  flush,
  parse,
  query,
  say,
  sync,
  type WireCase,
} from '../script.ts'

const byId = 'SELECT id, name FROM wire_items WHERE id = $1'
const all = 'SELECT id, name FROM wire_items ORDER BY id'

/** Cases of statements and what is described of them. */
const statementCases: readonly WireCase[] = [
  { name: 'all unnamed, one go', steps: [say(extended(byId, ['1']), '12TDCZ')] },
  {
    name: 'the unnamed statement beside queries, on a connection of its own',
    steps: [
      ask('CREATE TEMP TABLE wire_own AS SELECT 1 AS a', 'CZ'),
      say(extended('SELECT a + 0 FROM wire_own WHERE a < $1', ['9'], [23]), '12TDCZ'),
      ask('SELECT a + 0 FROM wire_own', 'TDCZ'),
      say(extended('SELECT a + 0 FROM wire_own WHERE a < $1', ['9'], [23]), '12TDCZ'),
      ask('BEGIN', 'CZ'),
      say(extended('SELECT a + 0 FROM wire_own WHERE a < $1', ['9'], [23]), '12TDCZ'),
      ask('SELECT a + 0 FROM wire_own', 'TDCZ'),
      say(extended('SELECT a + 0 FROM wire_own WHERE a < $1', ['9'], [23]), '12TDCZ'),
      ask('COMMIT', 'CZ'),
    ],
  },
  {
    name: 'parameter without a type that is given one',
    steps: [say(extended('SELECT $1 + 1', ['41'], [23]), '12TDCZ')],
  },
  {
    name: 'a named statement is used again',
    steps: [
      say([parse('s1', byId), sync], '1Z'),
      say([bind({ statement: 's1', params: ['1'] }), execute(), sync], '2DCZ'),
      say([bind({ statement: 's1', params: ['2'] }), describe('P'), execute(), sync], '2TDCZ'),
      say([bind({ statement: 's1', params: ['99'] }), execute(), sync], '2CZ'),
    ],
  },
  { name: 'describe of a statement', steps: [say([parse('s1', byId), describe('S', 's1'), sync], '1tTZ')] },
  {
    name: 'describe of the unnamed statement',
    steps: [say([parse('', 'SELECT $1::text, $2::int[], $3::numeric'), describe('S'), sync], '1tTZ')],
  },
  {
    name: 'describe of a statement without rows',
    steps: [say([parse('', 'UPDATE wire_items SET name = $1 WHERE id = $2'), describe('S'), sync], '1tnZ')],
  },
  {
    name: 'describe of a portal without rows',
    steps: [
      say(
        [
          parse('', 'DELETE FROM wire_items WHERE id = $1'),
          bind({ params: ['99'] }),
          describe('P'),
          execute(),
          sync,
        ],
        '12nCZ',
      ),
    ],
  },
  {
    name: 'describe of a portal in binary',
    steps: [say([parse('', all), bind({ resultFormats: [1] }), describe('P'), sync], '12TZ')],
  },
  {
    name: 'a statement’s description stays after the portal ran',
    steps: [
      say(
        [parse('s1', byId), bind({ statement: 's1', params: ['1'] }), execute(), describe('S', 's1'), sync],
        '12DCtTZ',
      ),
    ],
  },
  {
    name: 'close of a statement, then it is unknown',
    steps: [
      say([parse('s1', byId), sync], '1Z'),
      say([close('S', 's1'), sync], '3Z'),
      say([bind({ statement: 's1', params: ['1'] }), execute(), sync], 'EZ'),
    ],
  },
  { name: 'close of what never was', steps: [say([close('S', 'never'), close('P', 'never'), sync], '33Z')] },
  { name: 'a name twice', steps: [say([parse('s1', byId), sync, parse('s1', all), sync], '1ZEZ')] },
  {
    name: 'the unnamed statement may be replaced',
    steps: [say([parse('', byId), parse('', all), bind(), execute(), sync], '112D{5}CZ')],
  },
  {
    name: 'a name is free again after close',
    steps: [
      say(
        [parse('s1', byId), close('S', 's1'), parse('s1', all), bind({ statement: 's1' }), execute(), sync],
        '1312D{5}CZ',
      ),
    ],
  },
  {
    name: 'the empty statement',
    steps: [say([parse('', ''), describe('S'), bind(), describe('P'), execute(), sync], '1tn2nIZ')],
  },
  { name: 'two statements in one Parse', steps: [say([parse('', 'SELECT 1; SELECT 2'), sync], 'EZ')] },
  {
    name: 'a simple query forgets the unnamed statement',
    steps: [
      say([parse('', byId), sync], '1Z'),
      ask('SELECT 1', 'TDCZ'),
      say([bind({ params: ['1'] }), execute(), sync], 'EZ'),
    ],
  },
  {
    name: 'statements live on after an error',
    steps: [
      say([parse('s1', byId), sync], '1Z'),
      ask('SELECT 1/0', 'EZ'),
      say([bind({ statement: 's1', params: ['1'] }), execute(), sync], '2DCZ'),
    ],
  },
  {
    name: 'PREPARE and EXECUTE in SQL',
    steps: [
      ask('PREPARE q (int) AS SELECT id, name FROM wire_items WHERE id = $1', 'CZ'),
      ask('EXECUTE q (2)', 'TDCZ'),
      ask('DEALLOCATE q', 'CZ'),
      ask('EXECUTE q (2)', 'EZ'),
    ],
  },
  {
    name: 'a statement of PREPARE is one of the protocol and the other way round',
    steps: [
      ask('PREPARE q (int) AS SELECT id FROM wire_items WHERE id = $1', 'CZ'),
      say([bind({ statement: 'q', params: ['1'] }), execute(), sync], '2DCZ'),
      say([parse('s1', byId), sync], '1Z'),
      ask('EXECUTE s1 (1)', 'TDCZ'),
      ask('DEALLOCATE ALL', 'CZ'),
      say([bind({ statement: 's1', params: ['1'] }), execute(), sync], 'EZ'),
    ],
  },
  {
    name: 'COMMIT through the extended protocol',
    steps: [
      say(extended('BEGIN'), '12nCZ'),
      say(extended(byId, ['1']), '12TDCZ'),
      say(extended('COMMIT'), '12nCZ'),
    ],
  },
  { name: 'SHOW through the extended protocol', steps: [say(extended('SHOW application_name'), '12TDCZ')] },
]

/** Cases of portals. */
const portalCases: readonly WireCase[] = [
  {
    name: 'a portal in parts',
    steps: [
      say([parse('', all), bind(), execute('', 2), execute('', 2), execute('', 2), sync], '12DDsDDsDCZ'),
    ],
  },
  {
    name: 'a portal in parts, a flush each',
    steps: [
      ask('BEGIN', 'CZ'),
      say([parse('', all), bind({ portal: 'p1' }), execute('p1', 2), flush], '12DDs'),
      say([execute('p1', 2), flush], 'DDs'),
      say([execute('p1', 2), sync], 'DCZ'),
      ask('COMMIT', 'CZ'),
    ],
  },
  {
    name: 'a portal survives a sync within a transaction',
    steps: [
      ask('BEGIN', 'CZ'),
      say([parse('', all), bind({ portal: 'p1' }), execute('p1', 3), sync], '12D{3}sZ'),
      ask('SELECT 1', 'TDCZ'),
      say([execute('p1', 0), sync], 'DDCZ'),
      ask('COMMIT', 'CZ'),
    ],
  },
  {
    name: 'a portal ends with its transaction',
    steps: [
      say([parse('', all), bind({ portal: 'p1' }), execute('p1', 1), sync], '12DsZ'),
      say([execute('p1', 1), sync], 'EZ'),
    ],
  },
  {
    name: 'a limit of just as many rows as there are',
    steps: [say([parse('', all), bind(), execute('', 5), execute('', 5), sync], '12D{5}sCZ')],
  },
  {
    name: 'a finished portal run again',
    steps: [say([parse('', all), bind(), execute(), execute(), sync], '12D{5}CCZ')],
  },
  {
    name: 'a limit on a statement without rows',
    steps: [say([parse('', "UPDATE wire_items SET name = 'z'"), bind(), execute('', 2), sync], '12CZ')],
  },
  {
    name: 'a limit on rows of a write',
    steps: [
      say(
        [parse('', 'DELETE FROM wire_children RETURNING id'), bind(), execute('', 1), execute('', 1), sync],
        '12DsCZ',
      ),
      ask('SELECT count(*) FROM wire_children', 'TDCZ'),
    ],
  },
  {
    name: 'close of a portal, then it is unknown',
    steps: [
      ask('BEGIN', 'CZ'),
      say([parse('', all), bind({ portal: 'p1' }), close('P', 'p1'), execute('p1'), sync], '123EZ'),
      ask('ROLLBACK', 'CZ'),
    ],
  },
  {
    name: 'two portals side by side',
    steps: [
      say(
        [
          parse('s1', all),
          bind({ portal: 'a', statement: 's1' }),
          bind({ portal: 'b', statement: 's1' }),
          execute('a', 1),
          execute('b', 2),
          execute('a', 1),
          sync,
        ],
        '122DsDDsDsZ',
      ),
    ],
  },
  {
    name: 'a portal’s name twice',
    steps: [say([parse('', all), bind({ portal: 'a' }), bind({ portal: 'a' }), sync], '12EZ')],
  },
  {
    name: 'cursors in SQL',
    steps: [
      ask('BEGIN', 'CZ'),
      ask(`DECLARE c CURSOR FOR ${all}`, 'CZ'),
      ask('FETCH 2 FROM c', 'TDDCZ'),
      ask('MOVE 1 FROM c', 'CZ'),
      ask('FETCH ALL FROM c', 'TDDCZ'),
      ask('CLOSE c', 'CZ'),
      ask('FETCH c', 'EZ'),
      ask('ROLLBACK', 'CZ'),
    ],
  },
  {
    name: 'a cursor is a portal of the protocol',
    steps: [
      ask(`BEGIN; DECLARE c CURSOR FOR ${all}`, 'CCZ'),
      say([describe('P', 'c'), execute('c', 2), sync], 'TDDsZ'),
      ask('COMMIT', 'CZ'),
    ],
  },
  {
    name: 'a cursor with hold',
    steps: [
      ask(`DECLARE h CURSOR WITH HOLD FOR ${all}`, 'CZ'),
      ask('FETCH 1 FROM h', 'TDCZ'),
      ask('CLOSE h', 'CZ'),
    ],
  },
  { name: 'a cursor outside a transaction', steps: [ask(`DECLARE c CURSOR FOR ${all}`, 'EZ')] },
]

/** Cases of several groups without waiting. */
const pipelineCases: readonly WireCase[] = [
  {
    name: 'a pipeline of groups',
    steps: [say([extended(byId, ['1']), extended(byId, ['2']), extended(byId, ['3'])], '12TDCZ12TDCZ12TDCZ')],
  },
  {
    name: 'a pipeline within one sync is one transaction',
    steps: [
      say(
        [
          parse('', "INSERT INTO wire_items (id, name) VALUES (70, 'a')"),
          bind(),
          execute(),
          parse('', 'SELECT 1/0'),
          bind(),
          execute(),
          parse('', "INSERT INTO wire_items (id, name) VALUES (71, 'a')"),
          bind(),
          execute(),
          sync,
        ],
        // The plan of a constant is made at Bind.
        '12C1EZ',
      ),
      ask('SELECT count(*) FROM wire_items WHERE id IN (70, 71)', 'TDCZ'),
    ],
  },
  {
    name: 'an error in the middle skips up to the next sync alone',
    steps: [
      say(
        [extended(byId, ['1']), parse('', 'SELECT wrong'), bind(), execute(), sync, extended(byId, ['2'])],
        '12TDCZEZ12TDCZ',
      ),
    ],
  },
  {
    name: 'what is in front of a syntax error is answered, and undone',
    steps: [
      say(
        [
          parse('before', byId),
          describe('S', 'before'),
          parse('', "INSERT INTO wire_items (id, name) VALUES (72, 'a')"),
          bind(),
          execute(),
          parse('', 'SELECT 1 1'),
          bind(),
          execute(),
          parse('', "INSERT INTO wire_items (id, name) VALUES (73, 'a')"),
          sync,
        ],
        '1tT12CEZ',
      ),
      ask('SELECT count(*) FROM wire_items WHERE id IN (72, 73)', 'TDCZ'),
      say([bind({ statement: 'before', params: ['1'] }), execute(), sync], '2DCZ'),
      say(extended(byId, ['2']), '12TDCZ'),
    ],
  },
  {
    name: 'what is in front of a name that is not known is answered, and undone',
    steps: [
      say(
        [
          parse('', "INSERT INTO wire_items (id, name) VALUES (74, 'a')"),
          bind(),
          execute(),
          bind({ statement: 'nobody' }),
          execute(),
          sync,
        ],
        '12CEZ',
      ),
      say([parse('', byId), bind({ params: ['1'] }), execute(), execute('nobody'), sync], '12DCEZ'),
      ask('SELECT count(*) FROM wire_items WHERE id = 74', 'TDCZ'),
      say(
        [parse('first', byId), parse('second', 'SELECT wrong FROM'), sync, extended(byId, ['1'])],
        '1EZ12TDCZ',
      ),
    ],
  },
  {
    name: 'a pipeline of prepared writes and reads',
    steps: [
      say([parse('w', 'UPDATE wire_items SET name = $2 WHERE id = $1'), parse('r', byId), sync], '11Z'),
      say(
        [
          bind({ statement: 'w', params: ['1', 'changed'] }),
          execute(),
          sync,
          bind({ statement: 'r', params: ['1'] }),
          execute(),
          sync,
        ],
        '2CZ2DCZ',
      ),
    ],
  },
  {
    name: 'extended and simple mixed in one packet',
    steps: [say([extended(byId, ['1']), query('SELECT 2'), extended(byId, ['3'])], '12TDCZTDCZ12TDCZ')],
  },
  {
    name: 'a simple query instead of the sync',
    steps: [say([parse('', byId), bind({ params: ['1'] }), execute(), query('SELECT 1')], '12DCTDCZ')],
  },
  {
    name: 'flush without sync',
    steps: [
      say([parse('', byId), flush], '1'),
      say([bind({ params: ['1'] }), flush], '2'),
      say([describe('P'), flush], 'T'),
      say([execute(), flush], 'DC'),
      say(sync, 'Z'),
    ],
  },
  {
    name: 'after an error nothing is answered until sync',
    steps: [
      say([parse('', 'SELECT wrong'), flush], 'E'),
      say([parse('', byId), bind({ params: ['1'] }), flush, sync], 'Z'),
      say(extended(byId, ['1']), '12TDCZ'),
    ],
  },
  {
    name: 'a hundred groups at once',
    steps: [
      say([parse('s1', byId), sync], '1Z'),
      say(
        Array.from({ length: 100 }, (_, index) =>
          Buffer.concat([bind({ statement: 's1', params: [String((index % 5) + 1)] }), execute(), sync]),
        ),
        '2DCZ'.repeat(100),
      ),
    ],
  },
]

// The union keeps the table's own number, which is another one each time, out of the description.
const changed = 'SELECT * FROM wire_change WHERE id = $1 UNION ALL SELECT * FROM wire_change WHERE false'
const changing =
  'WITH w AS (INSERT INTO wire_change VALUES ($1) RETURNING *) SELECT * FROM w UNION ALL SELECT * FROM w WHERE false'

/** Cases of statements whose tables change after they were prepared. */
const changeCases: readonly WireCase[] = [
  {
    name: 'a prepared statement whose rows have another shape',
    steps: [
      ask('CREATE TABLE wire_change (id int, a int, b int); INSERT INTO wire_change VALUES (1, 2, 3)', 'CCZ'),
      say([parse('c', changed), describe('S', 'c'), sync], '1tTZ'),
      say([bind({ statement: 'c', params: ['1'], resultFormats: [1, 1, 1] }), execute(), sync], '2DCZ'),
      ask('ALTER TABLE wire_change DROP COLUMN a', 'CZ'),
      say([bind({ statement: 'c', params: ['1'], resultFormats: [1, 1, 1] }), execute(), sync], 'EZ'),
      say([bind({ statement: 'c', params: ['1'] }), execute(), sync], 'EZ'),
      say([close('S', 'c'), parse('c', changed), describe('S', 'c'), sync], '31tTZ'),
      say([bind({ statement: 'c', params: ['1'] }), execute(), sync], '2DCZ'),
      ask('DROP TABLE wire_change', 'CZ'),
    ],
  },
  {
    name: 'a prepared write whose rows have another shape',
    steps: [
      ask('CREATE TABLE wire_change (id int, a int)', 'CZ'),
      say([parse('w', changing), describe('S', 'w'), sync], '1tTZ'),
      ask('ALTER TABLE wire_change ADD COLUMN b int', 'CZ'),
      say([bind({ statement: 'w', params: ['1'] }), execute(), sync], 'EZ'),
      ask('SELECT count(*) FROM wire_change', 'TDCZ'),
      ask('DROP TABLE wire_change', 'CZ'),
    ],
  },
]

/** Cases of the extended protocol. */
export const extendedCases: readonly WireCase[] = [
  ...statementCases,
  ...portalCases,
  ...pipelineCases,
  ...changeCases,
]
