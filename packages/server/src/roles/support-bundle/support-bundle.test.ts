import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { withoutRows } from './logs.ts'
import { tarOf } from './tar.ts'

test("an archive is one that the system's own tar reads", () => {
  const files = [
    { path: 'folder/a.json', text: '{"a": "ü"}\n' },
    { path: 'folder/logs/empty', text: '' },
    { path: 'folder/large', text: 'x'.repeat(100_000) },
  ]
  const input = tarOf(files, Date.UTC(2026, 0, 2))
  const read = (...words: string[]): string => spawnSync('tar', words, { input, encoding: 'utf8' }).stdout
  const env = read('-tvf', '-', '--utc', '--numeric-owner')
  expect(env.split('\n').map((line) => line.split(/\s+/).at(-1))).toEqual([
    ...files.map(({ path }) => path),
    '',
  ])
  expect(env).toMatch(/^-rw------- 0\/0 +12 2026-01-02 00:00 folder\/a\.json$/m)
  for (const { path, text } of files) expect(read('-xOf', '-', path)).toBe(text)
})

test('a log of Postgres is left without statements, details and what errors quote', () => {
  const log = `2026-01-02 03:04:05.678 UTC [12] LOG:  database system is ready to accept connections
2026-01-02 03:04:05.678 UTC [13] app@app ERROR:  invalid input syntax for type integer: "secret"
2026-01-02 03:04:05.678 UTC [13] app@app DETAIL:  Key (a)=(secret) already exists.
2026-01-02 03:04:05.678 UTC [13] app@app STATEMENT:  select 'secret',
	'secret' from t
2026-01-02 03:04:05.678 UTC [13] app@app LOG:  statement: select 'secret'
2026-01-02 03:04:05.678 UTC [13] app@app LOG:  duration: 12.3 ms  execute <unnamed>: select 'secret'
2026-01-02 03:04:05.678 UTC [14] FATAL:  terminating connection due to administrator command
`
  expect(withoutRows(log))
    .toBe(`2026-01-02 03:04:05.678 UTC [12] LOG:  database system is ready to accept connections
2026-01-02 03:04:05.678 UTC [13] app@app ERROR:  invalid input syntax for type integer: "…"
2026-01-02 03:04:05.678 UTC [13] app@app LOG:  (a statement)
2026-01-02 03:04:05.678 UTC [13] app@app LOG:  (a statement)
2026-01-02 03:04:05.678 UTC [14] FATAL:  terminating connection due to administrator command
`)
})
