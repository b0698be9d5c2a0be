// psycopg 3 over libpq, in its pure Python implementation; Debian's package, on Debian's Python.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Driver } from './case.ts'
import { listedDriver } from './listed.ts'
import { runProgram } from './program.ts'

const python = '/usr/bin/python3'
const script = fileURLToPath(new URL('psycopg3_cases.py', import.meta.url))
const found = spawnSync(python, ['-c', 'import psycopg']).status === 0

/** psycopg 3. */
export const psycopg3: Driver = listedDriver(
  'psycopg 3',
  found ? null : 'python3-psycopg is not installed',
  ({ url, tenant }) => runProgram(python, [script, url, tenant]),
)
