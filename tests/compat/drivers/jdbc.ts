// The JDBC driver; Debian's package, run from its source by the JDK.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { targetOf } from '../../wire/connection.ts'
import type { Driver } from './case.ts'
import { listedDriver } from './listed.ts'
import { findProgram, runProgram } from './program.ts'

const jar = '/usr/share/java/postgresql.jar'
const source = fileURLToPath(new URL('JdbcCases.java', import.meta.url))
const java = findProgram('java')
const compiler = findProgram('javac')

function missing(): string | null {
  if (java === null || compiler === null) return 'there is no JDK'
  return existsSync(jar) ? null : 'libpostgresql-jdbc-java is not installed'
}

/** JDBC. */
export const jdbc: Driver = listedDriver('JDBC', missing(), ({ url, tenant }) => {
  const { host, port, database, user, password } = targetOf(url)
  const words = [
    '-Xmx512m',
    '-cp',
    jar,
    source,
    `jdbc:postgresql://${host}:${String(port)}/${database}`,
    user,
  ]
  return runProgram(java ?? 'java', [...words, tenant], { env: { COMPAT_PASSWORD: password } })
})
