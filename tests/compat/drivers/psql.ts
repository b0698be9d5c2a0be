// psql, fed with scripts; its output is compared as it stands.
import assert from 'node:assert/strict'
import { bigRows, bigTenant, sample, type Case, type Driver } from './case.ts'
import { findProgram, postgresFolders, runProgram } from './program.ts'

const program = findProgram('psql', postgresFolders)
const words = ['-X', '-q', '-A', '-t', '-v', 'VERBOSITY=verbose', '-v', 'SHOW_CONTEXT=never']

/** Runs a script for a tenant (`:'tenant'`) and checks what it prints; `err` is a pattern. */
function script(text: string, out: string, err = /^$/): Case {
  return async ({ url, tenant }) => {
    const printed = await runProgram(program ?? 'psql', [...words, '-v', `tenant=${tenant}`, '-d', url], {
      input: text,
    })
    assert.equal(printed.out, out, printed.err)
    assert.match(printed.err, err)
  }
}

const insert = (id: number, name = `n${String(id)}`): string =>
  `INSERT INTO compat_values (tenant, id, name) VALUES (:'tenant', ${String(id)}, '${name}');\n`
const count = `SELECT count(*) FROM compat_values WHERE tenant = :'tenant';\n`
const one = `FROM compat_values WHERE tenant = :'tenant' AND id = 1`

/** psql. */
export const psql: Driver = {
  name: 'psql',
  missing: program === null ? 'psql is not installed' : null,
  cases: {
    'reads and writes rows': script(
      `${insert(1)}SELECT id, name ${one};
UPDATE compat_values SET name = 'new' WHERE tenant = :'tenant' RETURNING name;
\\x on
SELECT id, name ${one};
\\x off
SELECT id, name ${one} \\gset
\\echo :name
SELECT name, id ${one} \\gdesc
DELETE FROM compat_values WHERE tenant = :'tenant';
${count}`,
      '1|n1\nnew\nid|1\nname|new\nnew\nname|text\nid|integer\n0\n',
    ),
    commits: script(`BEGIN;\n${insert(1)}${insert(2)}COMMIT;\n${count}`, '2\n'),
    'rolls back': script(`\\set AUTOCOMMIT off\n${insert(1)}ROLLBACK;\n${count}`, '0\n'),
    'rolls back to a savepoint': script(
      `BEGIN;\n${insert(1)}SAVEPOINT a;\n${insert(1)}ROLLBACK TO a;\n${insert(2)}COMMIT;\n${count}`,
      '2\n',
      /^ERROR: {2}23505: duplicate key value violates unique constraint "compat_values_pkey"\n/,
    ),
    'uses prepared statements again': script(
      `${insert(1)}PREPARE p (text, int) AS SELECT name FROM compat_values WHERE tenant = $1 AND id = $2;
EXECUTE p (:'tenant', 1);\nEXECUTE p (:'tenant', 1);\nDEALLOCATE p;\n`,
      'n1\nn1\n',
    ),
    arrays: script(
      `INSERT INTO compat_values (tenant, id, tags) VALUES (:'tenant', 1, ARRAY['a', 'b c', NULL]);
SELECT tags, tags[2], cardinality(tags) ${one};\n`,
      '{a,"b c",NULL}|b c|3\n',
    ),
    'json and jsonb': script(
      `INSERT INTO compat_values (tenant, id, doc) VALUES (:'tenant', 1, '{"b": [1, 2], "a": null}');
SELECT doc, doc->'b'->1 ${one};\n`,
      '{"a": null, "b": [1, 2]}|2\n',
    ),
    bytea: script(
      `INSERT INTO compat_values (tenant, id, payload) VALUES (:'tenant', 1, '\\xdeadbeef');\nSELECT payload ${one};\n`,
      '\\xdeadbeef\n',
    ),
    'dates and timestamps': script(
      `SET timezone = 'UTC';
INSERT INTO compat_values (tenant, id, made, day) VALUES (:'tenant', 1, '${sample.made.toISOString()}', '${sample.day}');
SELECT made, day ${one};\nSET timezone = 'Asia/Tokyo';\nSELECT made ${one};\n`,
      '2024-02-29 12:34:56.789+00|2024-02-29\n2024-02-29 21:34:56.789+09\n',
    ),
    'numeric and int8': script(
      `INSERT INTO compat_values (tenant, id, price, large) VALUES (:'tenant', 1, ${sample.price}, ${sample.large});
SELECT price, large ${one};\n`,
      `${sample.price}|${sample.large}\n`,
    ),
    'a result of 100,000 rows': async ({ url }) => {
      const text = `SELECT n FROM compat_big WHERE tenant = '${bigTenant}';\n`
      const { out } = await runProgram(program ?? 'psql', [...words, '-d', url], { input: text })
      assert.equal(out.split('\n').length, bigRows + 1)
    },
    'rows in parts': script(
      `\\set FETCH_COUNT 30000
SELECT n FROM compat_big WHERE tenant = '${bigTenant}' AND n % 20000 = 0 ORDER BY n;\n`,
      '20000\n40000\n60000\n80000\n100000\n',
    ),
    'copy in': script(
      `\\copy compat_values (tenant, id, name) from pstdin
copied	1	a
copied	2	b
\\.
SELECT id, name FROM compat_values WHERE tenant = 'copied' ORDER BY id;
DELETE FROM compat_values WHERE tenant = 'copied';\n`,
      '1|a\n2|b\n',
    ),
    'copy out': script(
      `COPY (SELECT n, body FROM compat_big WHERE tenant = '${bigTenant}' AND n <= 2 ORDER BY n) TO STDOUT (FORMAT csv);\n`,
      '1,row 1\n2,row 2\n',
    ),
    'errors with their fields': script(
      `${insert(1)}${insert(1)}SELECT nam FROM compat_values WHERE tenant = :'tenant';\n\\echo :LAST_ERROR_SQLSTATE\n`,
      '42703\n',
      /^ERROR: {2}23505: .*\nDETAIL: {2}Key \(tenant, id\)=\(.*\) already exists\.\nSCHEMA NAME: {2}public\nTABLE NAME: {2}compat_values\nCONSTRAINT NAME: {2}compat_values_pkey\n(?:LOCATION: .*\n)?ERROR: {2}42703: .*\nLINE 1: SELECT nam FROM .*\n {15}\^\nHINT: .*\n(?:LOCATION: .*\n)?$/,
    ),
    'asks the catalog': async ({ url }) => {
      const text = '\\d compat_big\n\\dt compat_*\n\\du\n\\df compat_*\n\\conninfo\n'
      const { out, err } = await runProgram(program ?? 'psql', [...words, '-d', url], { input: text })
      assert.equal(err, '')
      assert.match(out, /^tenant\|text\|\|not null\|\nn\|integer\|\|not null\|\nbody\|text\|\|not null\|\n/)
      assert.match(out, /public\|compat_values\|table\|/)
    },
    cancels: script(
      `SET statement_timeout = '50ms';\nSELECT pg_sleep(60);\nRESET statement_timeout;\nSELECT 1;\n`,
      '1\n',
      /^ERROR: {2}57014: /,
    ),
  },
}
