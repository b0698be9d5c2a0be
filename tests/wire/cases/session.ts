// What a session remembers: settings, statements, temporary tables, locks, channels; and how it forgets.
import { ask, bind, execute, parse, say, sync, type WireCase } from '../script.ts'

/** Cases of session state. */
export const sessionCases: readonly WireCase[] = [
  {
    name: 'set, show, reset',
    steps: [
      ask("SET work_mem = '7MB'", 'CZ'),
      ask('SHOW work_mem', 'TDCZ'),
      ask('RESET work_mem', 'CZ'),
      ask('SHOW work_mem', 'TDCZ'),
    ],
  },
  {
    name: 'a reported setting is reported',
    steps: [
      ask("SET application_name = 'wire test'", 'CSZ'),
      ask("SET TimeZone = 'Asia/Tokyo'", 'CSZ'),
      ask('SELECT made FROM wire_items WHERE id = 1', 'TDCZ'),
      ask('RESET ALL', 'CS+Z'),
    ],
  },
  {
    name: 'types and functions of the session alone',
    steps: [
      ask('CREATE TYPE pg_temp.wire_range AS RANGE (subtype = text)', 'CZ'),
      ask("SELECT upper('[a,b]'::pg_temp.wire_range)", 'TDCZ'),
      ask("CREATE FUNCTION pg_temp.wire_own() RETURNS int LANGUAGE sql AS 'SELECT 7'", 'CZ'),
      ask('SELECT pg_temp.wire_own()', 'TDCZ'),
    ],
  },
  {
    name: 'date style and interval style',
    steps: [
      ask("SET DateStyle = 'German, DMY'", 'CSZ'),
      ask("SELECT made, '1 day 2 hours'::interval FROM wire_items WHERE id = 1", 'TDCZ'),
      ask("SET IntervalStyle = 'iso_8601'", 'CSZ'),
      ask("SELECT '1 day 2 hours'::interval", 'TDCZ'),
    ],
  },
  {
    name: 'search_path',
    steps: [
      ask('SET search_path = pg_catalog', 'C S? Z'),
      ask('SELECT count(*) FROM wire_items', 'EZ'),
      ask('SELECT count(*) FROM public.wire_items', 'TDCZ'),
    ],
  },
  {
    name: 'settings by function',
    steps: [
      ask("SELECT set_config('work_mem', '8MB', false)", 'TDCZ'),
      ask("SELECT current_setting('work_mem')", 'TDCZ'),
      ask("SELECT set_config('wire.own', 'value', false)", 'TDCZ'),
      ask("SELECT current_setting('wire.own')", 'TDCZ'),
      ask("SELECT current_setting('wire.unknown', true)", 'TDCZ'),
    ],
  },
  {
    name: 'a setting that is unknown',
    steps: [ask('SET wire_unknown = 1', 'EZ'), ask('SHOW wire_unknown', 'EZ')],
  },
  {
    name: 'a value that is wrong',
    steps: [ask("SET work_mem = 'much'", 'EZ'), ask("SET work_mem = '1kB'", 'EZ')],
  },
  { name: 'a setting that needs more rights', steps: [ask('SET log_min_messages = debug5', 'EZ')] },
  {
    name: 'settings from the startup message',
    parameters: {
      application_name: 'from startup',
      TimeZone: 'UTC',
      extra_float_digits: '0',
      options: '-c work_mem=9MB',
    },
    steps: [
      ask('SHOW application_name', 'TDCZ'),
      ask('SHOW work_mem', 'TDCZ'),
      ask('SELECT 0.1::float8 + 0.2::float8', 'TDCZ'),
      ask('RESET ALL', 'C S* Z'),
      ask('SHOW application_name', 'TDCZ'),
    ],
  },
  {
    name: 'an application_name that an error takes back',
    steps: [
      ask('BEGIN', 'CZ'),
      ask("SET application_name = 'one'", 'CSZ'),
      ask('SAVEPOINT a', 'CZ'),
      ask("SET application_name = 'two'", 'CSZ'),
      ask('SELECT 1/0', 'ESZ'),
      ask('ROLLBACK TO a', 'CZ'),
      ask('SHOW application_name', 'TDCZ'),
      ask('SELECT 1/0', 'EZ'),
      ask('ROLLBACK', 'CSZ'),
      ask('BEGIN', 'CZ'),
      ask("SET application_name = 'three'", 'CSZ'),
      ask('SELECT 1/0', 'ESZ'),
      ask('ROLLBACK', 'CZ'),
    ],
  },
  {
    name: 'an application_name that is too long',
    parameters: { application_name: 'x'.repeat(65) },
    steps: [
      ask('SHOW application_name', 'TDCZ'),
      ask(`SET application_name = '${'y'.repeat(70)}'`, 'NCSZ'),
      ask('RESET application_name', 'CSZ'),
    ],
  },
  {
    name: 'client encoding',
    parameters: { client_encoding: 'LATIN1' },
    steps: [
      ask('SHOW client_encoding', 'TDCZ'),
      ask('SELECT name FROM wire_items WHERE id = 1', 'TDCZ'),
      ask('SELECT chr(228)', 'TDCZ'),
      ask('SELECT name FROM wire_items WHERE id = 3', 'T?EZ'),
      ask("SET client_encoding = 'UTF8'", 'CSZ'),
      ask('SELECT name FROM wire_items WHERE id = 3', 'TDCZ'),
    ],
  },
  {
    name: 'discard all',
    steps: [
      ask("SET work_mem = '7MB'", 'CZ'),
      say([parse('s1', 'SELECT 1'), sync], '1Z'),
      ask('DISCARD ALL', 'C S* Z'),
      ask('SHOW work_mem', 'TDCZ'),
      say([bind({ statement: 's1' }), execute(), sync], 'EZ'),
    ],
  },
  {
    name: 'discard of parts',
    steps: [ask('DISCARD PLANS', 'CZ'), ask('DISCARD SEQUENCES', 'CZ'), ask('DISCARD TEMP', 'CZ')],
  },
  {
    name: 'discard all in a transaction',
    steps: [ask('BEGIN', 'CZ'), ask('DISCARD ALL', 'EZ'), ask('ROLLBACK', 'CZ')],
  },
  {
    name: 'temporary tables',
    steps: [
      ask('CREATE TEMPORARY TABLE wire_temp (a int)', 'CZ'),
      ask('INSERT INTO wire_temp VALUES (1), (2)', 'CZ'),
      ask('SELECT sum(a) FROM wire_temp', 'TDCZ'),
      ask('SELECT count(*) FROM wire_temp', 'EZ', 1),
      ask('DROP TABLE wire_temp', 'CZ'),
    ],
  },
  {
    name: 'advisory locks of a session',
    steps: [
      ask('SELECT pg_advisory_lock(4712)', 'TDCZ'),
      ask('SELECT pg_try_advisory_lock(4712)', 'TDCZ', 1),
      ask('SELECT pg_advisory_unlock(4712)', 'TDCZ'),
      ask('SELECT pg_try_advisory_lock(4712), pg_advisory_unlock(4712)', 'TDCZ', 1),
    ],
  },
  {
    name: 'listen and notify in one session',
    steps: [
      ask('LISTEN wire_channel', 'CZ'),
      ask("NOTIFY wire_channel, 'payload'", 'CAZ'),
      ask("SELECT pg_notify('wire_channel', 'other')", 'TDCAZ'),
      ask('UNLISTEN *', 'CZ'),
      ask('NOTIFY wire_channel', 'CZ'),
    ],
  },
  {
    name: 'a notification from another session comes unasked',
    steps: [
      ask('LISTEN wire_channel', 'CZ'),
      ask("NOTIFY wire_channel, 'from the other'", 'CZ', 1),
      say(Buffer.alloc(0), 'A'),
    ],
  },
  {
    name: 'notifications wait for the commit',
    steps: [
      ask('LISTEN wire_channel', 'CZ'),
      ask('BEGIN', 'CZ', 1),
      ask("NOTIFY wire_channel, 'rolled back'", 'CZ', 1),
      ask('ROLLBACK', 'CZ', 1),
      ask('SELECT 1', 'TDCZ'),
    ],
  },
  {
    name: 'the current user and database',
    steps: [
      ask('SELECT current_user, session_user, current_schema', 'TDCZ'),
      ask('SELECT version()', 'TDCZ'),
    ],
  },
  {
    name: 'a sequence’s last value belongs to the session',
    steps: [
      ask('CREATE TEMPORARY SEQUENCE wire_numbers', 'CZ'),
      ask("SELECT nextval('wire_numbers'), nextval('wire_numbers')", 'TDCZ'),
      ask("SELECT currval('wire_numbers'), lastval()", 'TDCZ'),
    ],
  },
  {
    name: 'set role',
    steps: [ask('SET ROLE NONE', 'C S* Z'), ask('SET ROLE wire_nobody', 'EZ'), ask('RESET ROLE', 'C S* Z')],
  },
]
