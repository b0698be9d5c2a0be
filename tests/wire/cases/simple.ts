// Simple query: results of each shape, several statements in one string, notices, empty strings, errors within.
import { ask, query, say, sync, type WireCase } from '../script.ts'

/** Cases of the simple protocol. */
export const simpleCases: readonly WireCase[] = [
  { name: 'one row of constants', steps: [ask("SELECT 1 AS one, 'two' AS two, NULL AS three", 'TDCZ')] },
  { name: 'rows of a table', steps: [ask('SELECT * FROM wire_items ORDER BY id', 'TD{5}CZ')] },
  { name: 'no rows', steps: [ask('SELECT id, name FROM wire_items WHERE id < 0', 'TCZ')] },
  { name: 'no columns', steps: [ask('SELECT FROM wire_items', 'TD{5}CZ')] },
  {
    name: 'more rows than a packet holds',
    steps: [ask("SELECT g, repeat('x', g % 100) FROM generate_series(1, 5000) g", 'TD{5000}CZ')],
  },
  { name: 'one large value', steps: [ask("SELECT repeat('ab', 700000) AS large", 'TDCZ')] },
  { name: 'empty query', steps: [ask('', 'IZ')] },
  { name: 'only a comment', steps: [ask('-- nothing here', 'IZ'), ask('/* nor here */ ;', 'IZ')] },
  { name: 'only semicolons', steps: [ask(';;;', 'IZ')] },
  { name: 'a statement with a semicolon and blanks', steps: [ask('  SELECT 1 ;  ', 'TDCZ')] },
  {
    name: 'several statements, several results',
    steps: [ask('SELECT 1; SELECT 2, 3; SELECT id FROM wire_items ORDER BY id LIMIT 2', 'TDCTDCTDDCZ')],
  },
  {
    name: 'several statements are one transaction, an error takes all back',
    steps: [
      ask("INSERT INTO wire_items (id, name) VALUES (50, 'a'); SELECT 1 / 0; SELECT 3", 'CEZ'),
      ask('SELECT count(*) FROM wire_items WHERE id = 50', 'TDCZ'),
    ],
  },
  {
    name: 'a syntax error refuses the whole string',
    steps: [
      ask("INSERT INTO wire_items (id, name) VALUES (51, 'a'); SELEC 1", 'EZ'),
      ask('SELECT count(*) FROM wire_items WHERE id = 51', 'TDCZ'),
    ],
  },
  {
    name: 'a transaction within one string',
    steps: [
      ask("BEGIN; INSERT INTO wire_items (id, name) VALUES (52, 'a'); COMMIT; SELECT 1", 'CCCTDCZ'),
      ask('SELECT name FROM wire_items WHERE id = 52', 'TDCZ'),
    ],
  },
  {
    name: 'a string that leaves a transaction open',
    steps: [ask('BEGIN; SELECT 1', 'CTDCZ'), ask('SELECT 2', 'TDCZ'), ask('ROLLBACK', 'CZ')],
  },
  {
    name: 'writes and their tags',
    steps: [
      ask("INSERT INTO wire_items (id, name) VALUES (60, 'a'), (61, 'b')", 'CZ'),
      ask("UPDATE wire_items SET name = 'c' WHERE id IN (60, 61)", 'CZ'),
      ask('DELETE FROM wire_items WHERE id = 60', 'CZ'),
      ask('DELETE FROM wire_items WHERE id = 61 RETURNING id, name', 'TDCZ'),
      ask('DELETE FROM wire_items WHERE id = 61 RETURNING id, name', 'TCZ'),
    ],
  },
  {
    name: 'upsert and merge of names',
    steps: [
      ask(
        "INSERT INTO wire_items (id, name) VALUES (1, 'uno') ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING *",
        'TDCZ',
      ),
      ask("INSERT INTO wire_items (id, name) VALUES (1, 'x') ON CONFLICT DO NOTHING", 'CZ'),
    ],
  },
  {
    name: 'notices come before the result',
    steps: [
      ask("SELECT wire_notice('hello')", 'T N D C Z'),
      ask("DO $$ BEGIN RAISE WARNING 'w'; RAISE INFO 'i'; END $$", 'NNCZ'),
    ],
  },
  {
    name: 'notices below the level wanted stay away',
    steps: [ask('SET client_min_messages = error', 'CZ'), ask("SELECT wire_notice('hello')", 'TDCZ')],
  },
  { name: 'a warning without a transaction', steps: [ask('COMMIT', 'NCZ'), ask('ROLLBACK', 'NCZ')] },
  { name: 'a procedure', steps: [ask('CALL wire_call(41)', 'TDCZ')] },
  { name: 'explain', steps: [ask('EXPLAIN (COSTS OFF) SELECT * FROM wire_items WHERE id = 1', 'TD+CZ')] },
  {
    name: 'values and table',
    steps: [ask("VALUES (1, 'a'), (2, 'b')", 'TDDCZ'), ask('TABLE wire_children', 'TDCZ')],
  },
  {
    name: 'two queries in one packet',
    steps: [say([query('SELECT 1'), query('SELECT 2')], 'TDCZTDCZ')],
  },
  {
    name: 'a failed query does not harm the next one in the packet',
    steps: [say([query('SELECT 1/0'), query('SELECT 2')], 'EZTDCZ')],
  },
  { name: 'sync alone', steps: [say(sync, 'Z'), say([sync, sync], 'ZZ')] },
  {
    name: 'text of every kind in literals',
    steps: [
      ask("SELECT 'it''s', E'tab\\t\\u00e9', $q$dollar 'q'$q$, U&'\\00e4', B'101', X'1F'", 'TDCZ'),
      ask('SELECT 1 AS "Mixed ""Name""", 2 AS ünï', 'TDCZ'),
    ],
  },
  {
    name: 'a long statement',
    steps: [ask(`SELECT length('${'y'.repeat(300_000)}')`, 'TDCZ')],
  },
]
