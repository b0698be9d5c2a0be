// psycopg2, and through it libpq; Debian's package, on Debian's Python.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Driver } from './case.ts'
import { listedDriver } from './listed.ts'
import { runProgram } from './program.ts'

const python = '/usr/bin/python3'
const script = fileURLToPath(new URL('psycopg2_cases.py', import.meta.url))
const found = spawnSync(python, ['-c', 'import psycopg2']).status === 0

/** psycopg2. */
export const psycopg2: Driver = listedDriver(
  'psycopg2',
  found ? null : 'python3-psycopg2 is not installed',
  ({ url, tenant }) => runProgram(python, [script, url, tenant]),
)
