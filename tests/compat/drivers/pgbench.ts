// pgbench: its own statements and a keyed script, in each of its three ways to send statements.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { targetOf } from '../../wire/connection.ts'
import { findProgram, postgresFolders, runProgram } from './program.ts'

/** The program; null where it is not installed. */
export const pgbench = findProgram('pgbench', postgresFolders)
/** Its three protocols. */
export const pgbenchModes = ['simple', 'extended', 'prepared'] as const
/** Transactions of one run, over all clients. */
export const pgbenchTransactions = 400
const clients = 8

/** Statements on one tenant each, with a transaction around a part of them. */
const keyed = `\\set id random(1, 1000000)
\\set tenant random(1, 50)
SELECT count(*) FROM compat_values WHERE tenant = :tenant::text;
BEGIN;
INSERT INTO compat_values (tenant, id, name) VALUES (:tenant::text, :id, 'bench') ON CONFLICT DO NOTHING;
UPDATE compat_values SET large = coalesce(large, 0) + 1 WHERE tenant = :tenant::text AND id = :id;
COMMIT;
`

/** Runs one mode; every transaction must succeed. `builtin` wants pgbench's own tables. */
export async function runPgbench(
  url: string,
  mode: (typeof pgbenchModes)[number],
  builtin: 'select-only' | 'tpcb-like' | null,
): Promise<void> {
  const { host, port, user, password, database } = targetOf(url)
  const folder = await mkdtemp(join(tmpdir(), 'fleetshard-pgbench-'))
  try {
    const file = join(folder, 'keyed.sql')
    await writeFile(file, keyed)
    const what = builtin === null ? ['-f', file] : ['-b', builtin]
    const where = ['-h', host, '-p', String(port), '-U', user, database]
    const size = ['-c', String(clients), '-j', '2', '-t', String(pgbenchTransactions / clients)]
    const words = ['-n', '-M', mode, ...size, ...what, ...where]
    const { code, out, err } = await runProgram(pgbench ?? 'pgbench', words, {
      env: { PGPASSWORD: password },
    })
    assert.equal(code, 0, err)
    assert.match(
      out,
      new RegExp(`number of transactions actually processed: ${String(pgbenchTransactions)}/`),
    )
    assert.match(out, /number of failed transactions: 0 /)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Makes pgbench's own tables, which takes rights that clients of a router need not have: sent to a server. */
export async function makePgbenchTables(url: string): Promise<void> {
  const { host, port, user, password, database } = targetOf(url)
  const words = ['-i', '-q', '-I', 'dtGvp', '-h', host, '-p', String(port), '-U', user, database]
  const { code, err } = await runProgram(pgbench ?? 'pgbench', words, { env: { PGPASSWORD: password } })
  assert.equal(code, 0, err)
}
