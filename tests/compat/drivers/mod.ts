// All drivers: one line each.
import type { Driver } from './case.ts'
import { drizzle } from './drizzle.ts'
import { jdbc } from './jdbc.ts'
import { kysely } from './kysely.ts'
import { nodePostgres } from './node-postgres.ts'
import { postgresJs } from './postgres-js.ts'
import { psql } from './psql.ts'
import { psycopg2 } from './psycopg2.ts'
import { psycopg3 } from './psycopg3.ts'
import { typeorm } from './typeorm.ts'

/** In the order in which they are tested. */
export const drivers: readonly Driver[] = [
  psql,
  nodePostgres,
  postgresJs,
  kysely,
  drizzle,
  typeorm,
  psycopg2,
  psycopg3,
  jdbc,
]
