// From what a session throws to errors of the catalogue. Nothing here repeats a password: Postgres' own texts have
// none, and the target is named by address, database and user only.
import { FleetError } from '@fleetshard/core'
import { PgServerError } from '@fleetshard/routing/wire'
import type { NodeTarget } from '../shard-engine.ts'

/** The fields of an error that Postgres sent. */
export interface PostgresErrorFields {
  readonly message: string
  readonly sqlstate: string
  readonly detail: string | undefined
  readonly hint: string | undefined
  /** 1-based character position in the statement. */
  readonly position: number | undefined
}

/** `db1.example:5432/app`, for messages. */
export function describeTarget(target: NodeTarget): string {
  return `${target.host}:${String(target.port)}/${target.database}`
}

/** The server's own error, or null for what comes from the network or from us. */
export function postgresError(error: unknown): PostgresErrorFields | null {
  if (!(error instanceof PgServerError)) return null
  const { message, code, detail, hint, position } = error.fields
  return { message, sqlstate: code, detail, hint, position }
}

/** True for the server's error of that SQLSTATE. */
export function hasSqlstate(error: unknown, ...sqlstates: readonly string[]): boolean {
  const fields = postgresError(error)
  return fields !== null && sqlstates.includes(fields.sqlstate)
}

/** SQLSTATEs after which the same call may succeed later: shutdown, start, recovery conflicts, too many clients. */
const TRANSIENT = new Set(['57P01', '57P02', '57P03', '53300', '40001', '40P01', '55P03', '57014'])

/** Any error of a call as one of the catalogue; what is a FleetError already stays as it is. */
export function toNodeError(error: unknown, target: NodeTarget): FleetError {
  if (error instanceof FleetError) return missing(error, target) ?? error
  const fields = postgresError(error)
  if (fields === null) return unreachable(error, target)
  const where = describeTarget(target)
  const message = `${where}: ${fields.message}`
  const common = { cause: error, sqlstate: fields.sqlstate }
  if (TRANSIENT.has(fields.sqlstate) || fields.sqlstate.startsWith('08')) {
    return new FleetError('shard_unavailable', message, {
      ...common,
      hint: 'the server is starting, stopping or overloaded: try again',
    })
  }
  const hint = remedyOf(fields, target)
  return new FleetError('node_check_failed', message, hint === null ? common : { ...common, hint })
}

/** What a server wants of a login that the record of the node does not have; null for other errors of connections. */
function missing(error: FleetError, target: NodeTarget): FleetError | null {
  const where = describeTarget(target)
  if (/asks for a password and none is known/.test(error.message)) {
    return new FleetError('node_check_failed', `${where} wants a password and none is given`, {
      hint: `give the password of ${target.user} with the endpoint: postgres://${target.user}:PASSWORD@…, or PGPASSWORD for the command line`,
      cause: error,
    })
  }
  if (/does not offer TLS/.test(error.message)) {
    return new FleetError('node_check_failed', `${where} does not speak TLS, but tls is ${target.tls}`, {
      hint: 'switch ssl on at the server, or set the node to tls: disable on a trusted network',
      cause: error,
    })
  }
  return null
}

function unreachable(error: unknown, target: NodeTarget): FleetError {
  const reason = error instanceof Error ? error.message : String(error)
  const where = describeTarget(target)
  if (/certificate|self-signed|altname/i.test(reason)) {
    return new FleetError('node_check_failed', `the certificate of ${where} is not trusted: ${reason}`, {
      hint: 'use a certificate of a trusted authority that names this host, or tls: require',
      cause: error,
    })
  }
  return new FleetError('shard_unavailable', `${where} cannot be reached: ${reason}`, {
    hint: 'check that the server runs and that host, port and network let this machine in',
    cause: error,
  })
}

/** What to do about an error of Postgres, one sentence; null where its message says it all. */
export function remedyOf(fields: PostgresErrorFields, target: NodeTarget): string | null {
  if (/during recovery/.test(fields.message)) return 'give the primary: this server is a replica'
  const user = quoteIdentifier(target.user)
  switch (fields.sqlstate) {
    case '28P01':
    case '28000':
      return `check user and password of ${target.user}, and pg_hba.conf of the server`
    case '3D000':
      return `create the database (CREATE DATABASE ${quoteIdentifier(target.database)}) or correct its name`
    case '42501':
      return `give ${target.user} the privilege: ${grantFor(fields.message, target.database, user)}`
    case '25006':
      return 'give the primary, or switch default_transaction_read_only off'
    case '53100':
      return 'free disk space on the server'
    default:
      return fields.hint ?? null
  }
}

function grantFor(message: string, database: string, user: string): string {
  if (/terminate/.test(message)) return `GRANT pg_signal_backend TO ${user}`
  const table = /permission denied for (?:table|view) (\S+)/.exec(message)?.[1]
  if (table !== undefined) return `GRANT ALL ON ${table} TO ${user}, or ALTER TABLE ${table} OWNER TO ${user}`
  const owned = /must be owner of (?:table|sequence|function|relation|schema) (\S+)/.exec(message)?.[1]
  if (owned !== undefined) return `make it the owner of ${owned}, or a member of the role that owns it`
  const schema = /permission denied for schema (\S+)/.exec(message)?.[1]
  if (schema !== undefined) return `GRANT USAGE, CREATE ON SCHEMA ${schema} TO ${user}`
  return `GRANT CREATE ON DATABASE ${quoteIdentifier(database)} TO ${user}`
}

/** An identifier in double quotes, always. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
