// What groups of several commands do: pipelines that are answered in parts, names that SQL and the protocol share.
import {
  ask,
  bind,
  close,
  describe,
  execute,
  extended,
  flush,
  parse,
  say,
  sync,
  type WireCase,
} from '../script.ts'

const byId = 'SELECT id, name FROM wire_items WHERE id = $1'

/** Cases of groups. */
export const groupCases: readonly WireCase[] = [
  {
    name: 'a transaction that begins in a pipeline outlives it',
    steps: [
      say([parse('', 'BEGIN'), bind(), execute(), parse('', byId), bind({ params: ['1'] }), flush], '12C12'),
      say([execute(), sync], 'DCZ'),
      say(extended("UPDATE wire_items SET name = 'once' WHERE id = 1"), '12nCZ'),
      ask('ROLLBACK', 'CZ'),
      ask('SELECT name FROM wire_items WHERE id = 1', 'TDCZ'),
    ],
  },
  {
    name: 'a pipeline whose parts are asked for is one transaction',
    steps: [
      say([parse('', "UPDATE wire_items SET name = 'never' WHERE id = 1"), bind(), execute(), flush], '12C'),
      say([parse('', 'SELECT 1/0'), bind(), execute(), flush], '1E'),
      say([parse('', byId), sync], 'Z'),
      ask('SELECT name FROM wire_items WHERE id = 1', 'TDCZ'),
    ],
  },
  {
    name: 'statements of the protocol and of SQL have one set of names',
    steps: [
      say([parse('s1', byId), sync], '1Z'),
      say(extended('EXECUTE s1 (2)'), '12TDCZ'),
      ask('EXPLAIN (COSTS OFF) EXECUTE s1 (2)', 'TD+CZ'),
      ask('PREPARE s1 AS SELECT 1', 'EZ'),
      ask('PREPARE s2 (int) AS SELECT name FROM wire_items WHERE id = $1', 'CZ'),
      say([bind({ statement: 's2', params: ['1'] }), describe('P'), execute(), sync], '2TDCZ'),
      say([parse('s2', byId), sync], 'EZ'),
      ask('DEALLOCATE s1; DEALLOCATE s2', 'CCZ'),
      say([bind({ statement: 's1', params: ['1'] }), sync], 'EZ'),
      say([bind({ statement: 's2', params: ['1'] }), sync], 'EZ'),
    ],
  },
  {
    name: 'EXECUTE is described as the statement that it names',
    steps: [
      say([parse('s1', byId), sync], '1Z'),
      say([parse('', 'EXECUTE s1 (2)'), describe('S'), flush], '1tT'),
      say([bind(), describe('P'), execute(), sync], '2TDCZ'),
      say([parse('s2', byId), parse('s3', 'EXECUTE s2 (1)'), describe('S', 's3'), sync], '11tTZ'),
      ask('BEGIN', 'CZ'),
      say([parse('s4', byId), parse('s5', 'EXECUTE s4 (1)'), describe('S', 's5'), sync], '11tTZ'),
      ask('COMMIT', 'CZ'),
    ],
  },
  {
    name: 'EXECUTE is described by the names that stand where it is prepared',
    steps: [
      say([parse('', 'EXECUTE s1 (1)'), describe('S'), parse('s1', byId), sync], '1tn1Z'),
      say([parse('', 'EXECUTE s1 (1)'), describe('S'), sync], '1tTZ'),
      say(
        [
          parse('s2', 'EXECUTE s3 (1)'),
          bind({ portal: 'p', statement: 's2' }),
          parse('s3', byId),
          execute('p'),
          sync,
        ],
        '121CZ',
      ),
      say([bind({ portal: 'p', statement: 's2' }), describe('P', 'p'), execute('p'), sync], '2TDCZ'),
    ],
  },
  {
    name: 'portals of settings in a transaction that has failed',
    steps: [
      say([parse('s1', "SET application_name = 'mine'"), parse('s2', 'SHOW application_name'), sync], '11Z'),
      ask('BEGIN', 'CZ'),
      say([bind({ portal: 'p', statement: 's1' }), bind({ portal: 'q', statement: 's2' }), sync], '22Z'),
      ask('SELECT 1/0', 'EZ'),
      say([describe('P', 'p'), execute('p'), sync], 'nEZ'),
      say([describe('P', 'q'), sync], 'EZ'),
      ask('ROLLBACK', 'CZ'),
      say([parse('', 'DEALLOCATE s1'), bind(), execute(), flush], '12C'),
      say([describe('P'), execute(), sync], 'nEZ'),
    ],
  },
  {
    name: 'DEALLOCATE beside cursors and commands of its connection',
    steps: [
      ask('DECLARE q CURSOR WITH HOLD FOR SELECT id FROM wire_items ORDER BY id', 'CZ'),
      say([parse('s1', byId), parse('s2', byId), sync], '11Z'),
      say([parse('', 'DEALLOCATE s1'), bind({ portal: 'q' }), sync], '1EZ'),
      say([bind(), execute(), flush], '2C'),
      say(extended('SET TRANSACTION READ ONLY'), '12nCZ'),
      say([bind({ statement: 's1', params: ['1'] }), sync], 'EZ'),
      ask('DEALLOCATE s2', 'CZ'),
      ask('DEALLOCATE s2', 'EZ'),
    ],
  },
  {
    name: 'EXECUTE that is prepared again finds what has its name by then',
    steps: [
      say([parse('s1', byId), parse('s2', 'EXECUTE s1 (1)'), describe('S', 's2'), sync], '11tTZ'),
      say([bind({ statement: 's2' }), execute(), sync], '2DCZ'),
      ask('DEALLOCATE s1', 'CZ'),
      say([parse('', 'EXECUTE s1 (1)'), describe('S'), sync], '1tnZ'),
      say([parse('s1', "SELECT 'another' AS word"), close('S', 's2'), sync], '13Z'),
      say([parse('s2', 'EXECUTE s1'), describe('S', 's2'), sync], '1tTZ'),
    ],
  },
  {
    name: 'a name that a failed group did not come to is free for SQL',
    steps: [
      say(
        [
          parse('', 'SELECT 1/0'),
          bind(),
          execute(),
          parse('s1', byId),
          parse('', 'PREPARE s1 AS SELECT 1'),
          sync,
        ],
        '1EZ',
      ),
      ask('PREPARE s1 AS SELECT 21 AS prepared', 'CZ'),
      ask('EXECUTE s1', 'TDCZ'),
    ],
  },
  {
    name: 'what EXECUTE does to its transaction holds in a pipeline whose parts are asked for',
    steps: [
      say([parse('s1', 'BEGIN'), parse('s2', 'ROLLBACK'), sync], '11Z'),
      say([parse('', 'EXECUTE s1'), bind(), execute(), flush], '12C'),
      say([sync], 'Z'),
      say(extended("UPDATE wire_items SET name = 'never' WHERE id = 1"), '12nCZ'),
      say([parse('', 'EXECUTE s2'), bind(), execute(), flush], '12C'),
      say(extended('SELECT name FROM wire_items WHERE id = 1'), '12TDCZ'),
    ],
  },
  {
    name: 'an error names the statement that it is about, where another has the same text',
    steps: [
      say([parse('s1', byId), sync], '1Z'),
      say([parse('', byId), bind({ params: ['1'] }), execute(), bind({ statement: 's1' }), sync], '12DCEZ'),
      say(
        [parse('s2', byId), bind({ statement: 's1', params: ['1'] }), bind({ statement: 's2' }), sync],
        '12EZ',
      ),
    ],
  },
  {
    name: 'an error of a command of names comes where the command stands',
    steps: [
      say(
        [
          parse('', byId),
          bind({ params: ['1'] }),
          execute(),
          parse('', 'DEALLOCATE nobodys'),
          bind(),
          execute(),
          sync,
        ],
        '12DC12EZ',
      ),
      say([parse('s1', byId), parse('s1', 'SELECT wrong'), sync], '1EZ'),
      say([parse('s1', byId), sync], 'EZ'),
    ],
  },
]
