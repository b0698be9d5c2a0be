// What Postgres says and what happens to its connections, as errors of the catalogue.
import { FleetError, type ErrorCode } from '@fleetshard/core'
import type { ServerErrorFields } from '../pgwire/mod.ts'

/** Cause of an `sql_error`: everything that Postgres said, in its own words. */
export class PgServerError extends Error {
  override readonly name = 'PgServerError'
  readonly fields: ServerErrorFields

  constructor(fields: ServerErrorFields) {
    super(fields.message)
    this.fields = fields
  }
}

interface Meaning {
  readonly status: number
  readonly retryable: boolean
}

// SQLSTATEs with a meaning of their own; the class (two characters) decides for the rest.
const meanings: Readonly<Record<string, Meaning>> = {
  // What was asked clashes with rows that are there, or with what others do right now.
  '23001': { status: 409, retryable: false },
  '23503': { status: 409, retryable: false },
  '23505': { status: 409, retryable: false },
  '23P01': { status: 409, retryable: false },
  '40001': { status: 409, retryable: true },
  '40P01': { status: 409, retryable: true },
  '55P03': { status: 409, retryable: true },
  '55006': { status: 409, retryable: true },
  '42501': { status: 403, retryable: false },
  '57014': { status: 504, retryable: true },
  '57P04': { status: 503, retryable: false },
  '40003': { status: 500, retryable: false },
  '08': { status: 503, retryable: true },
  '28': { status: 403, retryable: false },
  '40': { status: 409, retryable: false },
  '53': { status: 503, retryable: true },
  '57': { status: 503, retryable: true },
  '58': { status: 500, retryable: false },
  F0: { status: 500, retryable: false },
  XX: { status: 500, retryable: false },
}
const mistake: Meaning = { status: 400, retryable: false }

// Our own SQLSTATEs, raised by functions and triggers that live in the shards.
const ownCodes: Readonly<Record<string, ErrorCode>> = { FS001: 'stale_map', FS002: 'wrong_database' }

/**
 * An ErrorResponse as `sql_error`, SQLSTATE and texts passed on. HTTP status: 409 for clashes with rows or with other
 * transactions (unique, foreign key, exclusion, serialization, deadlock, lock not available), 403 for missing
 * privileges, 504 for statements cancelled by a timeout, 503 when the server lacks resources or goes away, 500 for
 * faults of the server, 400 for the rest: syntax, data, checks. Retryable: what may succeed later unchanged.
 * Our own SQLSTATEs become the code they stand for. `facts`: severity, pg_detail, position and whatever else was said.
 */
export function sqlError(fields: ServerErrorFields): FleetError {
  const own = ownCodes[fields.code]
  const meaning = meanings[fields.code] ?? meanings[fields.code.slice(0, 2)] ?? mistake
  return new FleetError(own ?? 'sql_error', fields.message, {
    sqlstate: fields.code,
    ...(own === undefined ? meaning : {}),
    ...(fields.hint === undefined ? {} : { hint: fields.hint }),
    facts: sqlFacts(fields),
    cause: new PgServerError(fields),
  })
}

/** What Postgres itself said, where an error only passes it on; null for errors of our own. */
export function serverFieldsOf(error: FleetError): ServerErrorFields | null {
  if (error.code !== 'sql_error') return null
  let cause: unknown = error.cause
  // An error that was given further facts has the first one as its cause.
  while (cause instanceof FleetError) cause = cause.cause
  return cause instanceof PgServerError ? cause.fields : null
}

/** `detail` would clash with the field of problem+json that holds the message: it travels as `pg_detail`. */
function sqlFacts(fields: ServerErrorFields): Readonly<Record<string, string | number>> {
  const facts: Record<string, string | number | undefined> = {
    severity: fields.severity,
    pg_detail: fields.detail,
    position: fields.position,
    internal_position: fields.internalPosition,
    internal_query: fields.internalQuery,
    where: fields.where,
    schema: fields.schema,
    table: fields.table,
    column: fields.column,
    data_type: fields.dataType,
    constraint: fields.constraint,
  }
  return Object.fromEntries(
    Object.entries(facts).filter((fact): fact is [string, string | number] => fact[1] !== undefined),
  )
}

/** Whom a connection is with; all that errors tell of it. */
export interface ServerAddress {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
}

/** `127.0.0.1:5432`, `[::1]:5432`, or the path of a Unix socket. */
export function formatAddress(address: Pick<ServerAddress, 'host' | 'port'>): string {
  const port = String(address.port)
  if (address.host.startsWith('/')) return `${address.host}/.s.PGSQL.${port}`
  return address.host.includes(':') ? `[${address.host}]:${port}` : `${address.host}:${port}`
}

/** What went wrong while connecting, and what to do about it. */
export interface ConnectFailure {
  readonly reason: string
  readonly hint: string
  readonly cause?: unknown
  readonly retryable?: boolean
  /** SQLSTATE of the server's refusal. */
  readonly code?: string
}

/** The connection could not be made. Names host, database and user, never the password. */
export function connectError(address: ServerAddress, failure: ConnectFailure): FleetError {
  const target = `${formatAddress(address)} (database ${address.database}, user ${address.user})`
  return new FleetError('shard_unavailable', `cannot connect to ${target}: ${failure.reason}`, {
    hint: failure.hint,
    ...(failure.cause === undefined ? {} : { cause: failure.cause }),
    ...(failure.retryable === undefined ? {} : { retryable: failure.retryable }),
    facts: {
      ...addressFacts(address),
      ...(failure.code === undefined ? {} : { server_sqlstate: failure.code }),
    },
  })
}

/** An established connection was lost. */
export function lostError(address: ServerAddress, reason: string, cause?: unknown): FleetError {
  const code = cause instanceof PgServerError ? cause.fields.code : undefined
  return new FleetError(
    'shard_unavailable',
    `the connection to ${formatAddress(address)} was lost: ${reason}`,
    {
      hint: 'try again; fleetshard status shows the state of the servers',
      ...(cause === undefined ? {} : { cause }),
      facts: { ...addressFacts(address), ...(code === undefined ? {} : { server_sqlstate: code }) },
    },
  )
}

function addressFacts(address: ServerAddress): Record<string, string | number> {
  return { host: address.host, port: address.port, database: address.database, user: address.user }
}

// Refusals at login by SQLSTATE: hint, and whether the same may work later by itself.
const refusals: Readonly<Record<string, { readonly hint: string; readonly retryable: boolean }>> = {
  '28P01': { hint: 'check the user and the password that secretRef names', retryable: false },
  '28000': { hint: 'allow the user, database and address in pg_hba.conf of the server', retryable: false },
  '3D000': { hint: 'create the database, or correct the name in the endpoint', retryable: false },
  '42501': { hint: 'grant CONNECT on the database to the user', retryable: false },
  '42704': { hint: 'a setting of the session is unknown to this server', retryable: false },
  '53300': {
    hint: 'the server has no connection slots left: raise max_connections or use fewer',
    retryable: true,
  },
  '57P03': { hint: 'the server is starting up or shutting down: try again', retryable: true },
}

/** The server answered the login with an error. */
export function refusalOf(fields: ServerErrorFields): ConnectFailure {
  const known = refusals[fields.code] ?? { hint: 'see the log of the server', retryable: true }
  return { reason: fields.message, code: fields.code, cause: new PgServerError(fields), ...known }
}

// System errors of connecting, by code.
const networkHints: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'no server listens there: start it, or check host and port',
  ENOENT: 'no server has its socket there: start it, or check folder and port',
  EACCES: 'this user may not enter the folder of the socket',
  ENOTFOUND: 'check the host name',
  EAI_AGAIN: 'the name service does not answer: try again',
  EHOSTUNREACH: 'check the network and the address',
  ENETUNREACH: 'check the network and the address',
  ETIMEDOUT: 'check the network, the firewall and the address',
}

/** A system error of a socket. */
export function networkFailure(error: unknown): ConnectFailure {
  const code = errorCode(error)
  if (/CERT|SIGNATURE|ALTNAME|^ERR_(?:TLS|SSL)/.test(code)) return tlsFailure(error)
  const reason = code === '' ? String(error instanceof Error ? error.message : error) : networkReason(code)
  return { reason, hint: networkHints[code] ?? 'check host, port and TLS mode', cause: error }
}

function tlsFailure(error: unknown): ConnectFailure {
  return {
    reason: error instanceof Error ? error.message : String(error),
    hint: 'give the server a certificate of a trusted authority that names this host, or set the TLS mode to require',
    cause: error,
    retryable: false,
  }
}

function networkReason(code: string): string {
  if (code === 'ECONNREFUSED') return 'connection refused'
  if (code === 'ECONNRESET') return 'the connection was reset'
  return code
}

function errorCode(error: unknown): string {
  // With several addresses Node tells of each in an AggregateError.
  const one: unknown = error instanceof AggregateError ? error.errors[0] : error
  if (typeof one !== 'object' || one === null || !('code' in one)) return ''
  return typeof one.code === 'string' ? one.code : ''
}
