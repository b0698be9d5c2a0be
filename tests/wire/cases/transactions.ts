// Transaction blocks: states, savepoints, modes, and what a failed one answers.
import { ask, bind, close, execute, extended, parse, say, sync, type WireCase } from '../script.ts'

/** Cases of transactions. */
export const transactionCases: readonly WireCase[] = [
  {
    name: 'commit',
    steps: [
      ask('BEGIN', 'CZ'),
      ask("INSERT INTO wire_items (id, name) VALUES (90, 'x')", 'CZ'),
      ask('COMMIT', 'CZ'),
      ask('SELECT name FROM wire_items WHERE id = 90', 'TDCZ'),
    ],
  },
  {
    name: 'rollback',
    steps: [
      ask('START TRANSACTION', 'CZ'),
      ask('DELETE FROM wire_children', 'CZ'),
      ask('ROLLBACK', 'CZ'),
      ask('SELECT count(*) FROM wire_children', 'TDCZ'),
    ],
  },
  {
    name: 'a failed transaction refuses all but its end',
    steps: [
      ask('BEGIN', 'CZ'),
      ask('SELECT 1/0', 'EZ'),
      ask('SELECT 1', 'EZ'),
      ask('', 'IZ'),
      say(extended('SELECT 1'), 'EZ'),
      say([parse('', 'ROLLBACK'), bind(), execute(), sync], '12CZ'),
      ask('SELECT 1', 'TDCZ'),
    ],
  },
  {
    name: 'commit of a failed transaction says ROLLBACK',
    steps: [ask('BEGIN', 'CZ'), ask('SELECT 1/0', 'EZ'), ask('COMMIT', 'CZ')],
  },
  {
    name: 'savepoints',
    steps: [
      ask('BEGIN', 'CZ'),
      ask('SAVEPOINT a', 'CZ'),
      ask("INSERT INTO wire_items (id, name) VALUES (91, 'x')", 'CZ'),
      ask('SAVEPOINT b', 'CZ'),
      ask('SELECT 1/0', 'EZ'),
      ask('ROLLBACK TO b', 'CZ'),
      ask('RELEASE SAVEPOINT a', 'CZ'),
      ask('ROLLBACK TO SAVEPOINT a', 'EZ'),
      ask('ROLLBACK', 'CZ'),
    ],
  },
  { name: 'a savepoint outside a transaction', steps: [ask('SAVEPOINT a', 'EZ')] },
  {
    name: 'begin within a transaction warns',
    steps: [ask('BEGIN', 'CZ'), ask('BEGIN', 'NCZ'), ask('COMMIT', 'CZ')],
  },
  {
    name: 'chained transactions',
    steps: [
      ask('BEGIN ISOLATION LEVEL REPEATABLE READ', 'CZ'),
      ask('COMMIT AND CHAIN', 'CZ'),
      ask('SHOW transaction_isolation', 'TDCZ'),
      ask('ROLLBACK', 'CZ'),
    ],
  },
  {
    name: 'modes of a transaction',
    steps: [
      ask('BEGIN READ ONLY', 'CZ'),
      ask("INSERT INTO wire_items (id, name) VALUES (92, 'x')", 'EZ'),
      ask('ROLLBACK', 'CZ'),
      ask('BEGIN', 'CZ'),
      ask('SET TRANSACTION ISOLATION LEVEL SERIALIZABLE', 'CZ'),
      ask('SHOW transaction_isolation', 'TDCZ'),
      ask('COMMIT', 'CZ'),
      ask('SHOW transaction_isolation', 'TDCZ'),
    ],
  },
  {
    name: 'a read-only session',
    steps: [
      ask('SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY', 'CSZ'),
      ask("INSERT INTO wire_items (id, name) VALUES (93, 'x')", 'EZ'),
      ask('SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE', 'CSZ'),
    ],
  },
  {
    name: 'locking reads',
    steps: [
      ask('BEGIN', 'CZ'),
      ask('SELECT id FROM wire_items WHERE id = 1 FOR UPDATE', 'TDCZ'),
      ask('SELECT id FROM wire_items WHERE id = 1 FOR UPDATE NOWAIT', 'TEZ', 1),
      ask('SELECT id FROM wire_items WHERE id <= 2 ORDER BY id FOR UPDATE SKIP LOCKED', 'TDCZ', 1),
      ask('COMMIT', 'CZ'),
    ],
  },
  {
    name: 'an open transaction is not seen by others',
    steps: [
      ask('BEGIN', 'CZ'),
      ask("UPDATE wire_items SET name = 'mine' WHERE id = 1", 'CZ'),
      ask('SELECT name FROM wire_items WHERE id = 1', 'TDCZ', 1),
      ask('COMMIT', 'CZ'),
      ask('SELECT name FROM wire_items WHERE id = 1', 'TDCZ', 1),
    ],
  },
  {
    name: 'prepared statements made in a transaction that fails stay',
    steps: [
      ask('BEGIN', 'CZ'),
      say([parse('s1', 'SELECT 5'), sync], '1Z'),
      ask('ROLLBACK', 'CZ'),
      say([bind({ statement: 's1' }), execute(), sync], '2DCZ'),
      say([close('S', 's1'), sync], '3Z'),
    ],
  },
  {
    name: 'a setting of a transaction',
    steps: [
      ask('BEGIN', 'CZ'),
      ask("SET LOCAL work_mem = '5MB'", 'CZ'),
      ask('SHOW work_mem', 'TDCZ'),
      ask('COMMIT', 'CZ'),
      ask('SHOW work_mem', 'TDCZ'),
    ],
  },
  { name: 'SET LOCAL outside a transaction warns', steps: [ask("SET LOCAL work_mem = '5MB'", 'NCZ')] },
  {
    name: 'a setting made in a transaction that is rolled back',
    steps: [
      ask('BEGIN', 'CZ'),
      ask("SET work_mem = '6MB'", 'CZ'),
      ask('ROLLBACK', 'CZ'),
      ask('SHOW work_mem', 'TDCZ'),
    ],
  },
  {
    name: 'advisory locks of a transaction',
    steps: [
      ask('BEGIN', 'CZ'),
      ask('SELECT pg_advisory_xact_lock(4711)', 'TDCZ'),
      ask('SELECT pg_try_advisory_lock(4711)', 'TDCZ', 1),
      ask('COMMIT', 'CZ'),
    ],
  },
]
