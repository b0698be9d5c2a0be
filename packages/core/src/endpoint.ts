// Endpoints: postgres:// URLs as people type them, to the parts that a node record keeps, and back without the
// password. Error messages never quote the URL, which may hold one.
import { FleetError } from './errors/fleet-error.ts'
import type { NodeRecord } from './model.ts'

/** An endpoint in its parts. */
export interface Endpoint {
  /** Host name, address, or the absolute folder of a Unix socket. */
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password: string | null
  readonly tls: NodeRecord['tls']
}

const portDefault = 5432
const URL_PARTS =
  /^postgres(?:ql)?:\/\/(?:([^/?#]*)@)?(\[[^\]/?#]*\]|[^:/?#[\]]*)(?::([0-9]*))?(?:\/([^?#]*))?(?:\?([^#]*))?$/i
/** Parameters that say nothing about which server it is, and that our connections set themselves. */
const IGNORED = new Set(['application_name', 'connect_timeout', 'keepalives', 'keepalives_idle'])
const UNDERSTOOD = new Set(['host', 'port', 'user', 'password', 'dbname', 'sslmode'])

/**
 * Reads an endpoint. TLS is `require` by default, and `disable` for loopback and Unix sockets.
 * @param field how messages call it: `primary_endpoint`
 * @throws FleetError `invalid_request`
 */
export function parseEndpoint(text: string, field: string): Endpoint {
  const parts = URL_PARTS.exec(text.trim())
  if (parts === null) {
    throw refused(
      field,
      'is not a postgres:// URL',
      'write it as postgres://user:password@host:5432/database',
    )
  }
  const [, userInfo = '', urlHost = '', urlPort = '', path = '', query = ''] = parts
  const parameters = parametersOf(query, field)
  const login = loginOf(userInfo, field)
  const host = hostOf(parameters.get('host') ?? decode(urlHost, field), field)
  const user = parameters.get('user') ?? login.user
  if (user === '') throw refused(field, 'lacks the user', 'write it as postgres://user@host:5432/database')
  const password = parameters.get('password') ?? login.password
  const database = parameters.get('dbname') ?? decode(path, field)
  return {
    host,
    port: portOf(parameters.get('port') ?? urlPort, field),
    database: nameOf(database === '' ? user : database, 'database', field),
    user: nameOf(user, 'user', field),
    password: password === '' ? null : password,
    tls: tlsOf(parameters.get('sslmode'), host, field),
  }
}

function loginOf(userInfo: string, field: string): { readonly user: string; readonly password: string } {
  const colon = userInfo.indexOf(':')
  if (colon < 0) return { user: decode(userInfo, field), password: '' }
  return { user: decode(userInfo.slice(0, colon), field), password: decode(userInfo.slice(colon + 1), field) }
}

/** The URL of a server, without its password; `parseEndpoint` reads it back. */
export function formatEndpoint(node: Omit<Endpoint, 'password'>): string {
  const parameters = new URLSearchParams()
  const isSocket = node.host.startsWith('/')
  if (isSocket) parameters.set('host', node.host)
  if (isSocket && node.port !== portDefault) parameters.set('port', String(node.port))
  if (node.tls !== tlsDefault(node.host)) parameters.set('sslmode', node.tls)
  const host = node.host.includes(':') ? `[${node.host}]` : node.host
  const authority = isSocket ? '' : `${host}:${String(node.port)}`
  const query = parameters.size === 0 ? '' : `?${parameters.toString().replaceAll('%2F', '/')}`
  return `postgres://${encodeURIComponent(node.user)}@${authority}/${encodeURIComponent(node.database)}${query}`
}

/** True for addresses of this machine and Unix sockets. */
export function isLocalHost(host: string): boolean {
  return host.startsWith('/') || host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)
}

/** True when both name the same server process, whatever the database and the login. */
export function isSameServer(
  a: Pick<Endpoint, 'host' | 'port'>,
  b: Pick<Endpoint, 'host' | 'port'>,
): boolean {
  return serverKey(a) === serverKey(b)
}

/** One text for a server process, however its host is written, to look it up by. */
export function serverKey({ host, port }: Pick<Endpoint, 'host' | 'port'>): string {
  return `${canonicalHost(host)}:${String(port)}`
}

/** True for a host name, an address, or the absolute folder of a Unix socket. */
export function isHost(text: string): boolean {
  return text.startsWith('/') ? /^\/[^\0\n]{1,255}$/.test(text) : /^[A-Za-z0-9_.:%-]{1,255}$/.test(text)
}

function canonicalHost(host: string): string {
  return host === 'localhost' || host === '::1' ? '127.0.0.1' : host.toLowerCase()
}

/** `disable` on this machine, `require` elsewhere. */
export const tlsDefault = (host: string): NodeRecord['tls'] => (isLocalHost(host) ? 'disable' : 'require')

function tlsOf(mode: string | undefined, host: string, field: string): NodeRecord['tls'] {
  switch (mode) {
    case undefined:
    case 'prefer':
    case 'allow':
      return tlsDefault(host)
    case 'disable':
    case 'require':
    case 'verify-full':
      return mode
    default:
      throw refused(field, 'has an unknown sslmode', 'use disable, require or verify-full')
  }
}

function parametersOf(query: string, field: string): Map<string, string> {
  const parameters = new Map<string, string>()
  for (const part of query.split('&').filter((text) => text !== '')) {
    const equals = part.indexOf('=')
    const name = decode(equals < 0 ? part : part.slice(0, equals), field)
    if (IGNORED.has(name)) continue
    if (!UNDERSTOOD.has(name)) {
      throw refused(field, `has the unknown parameter ${JSON.stringify(name.slice(0, 40))}`, 'leave it out')
    }
    if (parameters.has(name)) throw refused(field, `has the parameter ${name} twice`, 'give it once')
    parameters.set(name, decode(equals < 0 ? '' : part.slice(equals + 1), field))
  }
  return parameters
}

function hostOf(text: string, field: string): string {
  const host = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text
  if (host === '') throw refused(field, 'lacks the host', 'write it as postgres://user@host:5432/database')
  if (host.includes(',')) throw refused(field, 'names several hosts', 'give one server an endpoint')
  if (!isHost(host)) {
    throw refused(field, 'has a host that is not valid', 'give a host name, an address or ?host=/folder')
  }
  return host
}

function portOf(text: string, field: string): number {
  if (text === '') return portDefault
  const port = Number(text)
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535) return port
  throw refused(field, 'has a port that is not valid', 'a port is a number from 1 to 65535')
}

/** Postgres cuts names at 63 bytes silently, which would make two of one. */
function nameOf(text: string, what: string, field: string): string {
  if (Buffer.byteLength(text) <= 63 && !text.includes('\0')) return text
  throw refused(field, `has a ${what} name that is not valid`, 'names have at most 63 bytes')
}

function decode(text: string, field: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw refused(field, 'has a % that does not begin an encoded character', 'write a % in a password as %25')
  }
}

function refused(field: string, what: string, hint: string): FleetError {
  return new FleetError('invalid_request', `${field} ${what}`, { hint, facts: { field } })
}
