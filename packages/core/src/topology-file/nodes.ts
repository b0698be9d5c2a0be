// Servers of a topology file: an object of the file to a node record, with its password put aside.
import { isHost, tlsDefault } from '../endpoint.ts'
import { HASHES } from '../hash/hashes.ts'
import { formatHash, makeHash64 } from '../hash/hash64.ts'
import { parseNodeId } from '../ids.ts'
import type { NodeRecord } from '../model.ts'
import {
  fieldsOf,
  integerField,
  requiredText,
  textField,
  wordField,
  type Fields,
  type NoteMistake,
} from './fields.ts'
import type { JsonNode } from '../json-tree.ts'

/** A server as the file has it. */
export interface FileNode {
  readonly record: NodeRecord
  /** The password, where the file holds it itself. */
  readonly password: string | null
  /** How messages call it. */
  readonly path: string
  readonly at: number
}

/** What is known of the server from around it. */
export interface NodePlace {
  readonly path: string
  readonly id: string
  readonly role: 'primary' | 'replica'
  /** For servers that say nothing of TLS themselves. */
  readonly tls: NodeRecord['tls'] | undefined
}

/** Values of `tls`. */
export const TLS_MODES = ['disable', 'require', 'verify-full'] as const
/** The ways to say a password. */
const PASSWORD_FIELDS = ['password', 'password_env', 'password_file', 'secret_ref'] as const
const FIELDS = ['host', 'port', 'user', ...PASSWORD_FIELDS, 'dbname', 'tls'] as const
const portDefault = 5432
/** Postgres cuts longer names silently, which would make two of one. */
const nameBytesMax = 63

/** Reads one server; null when something that it needs is missing or wrong, which is noted. */
export function readNode(node: JsonNode, place: NodePlace, note: NoteMistake): FileNode | null {
  const { path } = place
  const fields = fieldsOf(node, path, FIELDS, note)
  if (fields === null) return null
  const host = hostOf(fields)
  const port = integerField(fields, 'port', { min: 1, max: 65_535 }) ?? portDefault
  const user = nameField(fields, 'user', '"user": "app"')
  const database = nameField(fields, 'dbname', '"dbname": "app"')
  const tls = wordField(fields, 'tls', TLS_MODES) ?? place.tls
  const login = passwordOf(fields)
  if (host === undefined || user === undefined || database === undefined || login === null) return null
  const at = { host, port, database, user }
  return {
    record: {
      ...at,
      id: parseNodeId(place.id),
      role: place.role,
      secretRef: login.kind === 'written' ? writtenRef(at) : login.secretRef,
      tls: tls ?? tlsDefault(host),
      region: null,
      zone: null,
      agent: null,
    },
    password: login.kind === 'written' ? login.password : null,
    path,
    at: node.at,
  }
}

function hostOf(fields: Fields): string | undefined {
  const host = requiredText(fields, 'host', '"host": "db.example.com"')
  if (host === undefined || isHost(host)) return host
  fields.note({
    at: fields.where('host'),
    message: `${fields.path}.host is not a host`,
    hint: 'give a host name, an address or the absolute folder of a Unix socket; the port has a field of its own',
  })
  return undefined
}

/** A name of Postgres. */
function nameField(fields: Fields, name: string, example: string): string | undefined {
  const text = requiredText(fields, name, example)
  if (text === undefined || new TextEncoder().encode(text).length <= nameBytesMax) return text
  fields.note({
    at: fields.where(name),
    message: `${fields.path}.${name} is longer than ${String(nameBytesMax)} bytes`,
  })
  return undefined
}

type Login =
  | { readonly kind: 'written'; readonly password: string }
  | { readonly kind: 'elsewhere'; readonly secretRef: string | null }

/** Null when it is wrong, which is noted. */
function passwordOf(fields: Fields): Login | null {
  const given = PASSWORD_FIELDS.filter((name) => fields.node(name) !== undefined)
  const [name, second] = given
  if (name === undefined) return { kind: 'elsewhere', secretRef: null }
  if (second !== undefined) {
    fields.note({
      at: fields.where(second),
      message: `${fields.path} says its password twice: ${name} and ${second}`,
      hint: 'keep one of them',
    })
    return null
  }
  const text = textField(fields, name)
  if (text === undefined) return null
  switch (name) {
    case 'password':
      return { kind: 'written', password: text }
    case 'password_env':
      return referred(fields, name, `env:${text}`)
    case 'password_file':
      return referred(fields, name, `file:${text}`)
    case 'secret_ref':
      return referred(fields, name, text)
  }
}

function referred(fields: Fields, name: string, secretRef: string): Login | null {
  if (/^env:[A-Za-z_][A-Za-z0-9_]*$|^file:\/./.test(secretRef)) return { kind: 'elsewhere', secretRef }
  const hints: Readonly<Record<string, string>> = {
    password_env: 'it is the name of an environment variable',
    password_file: 'it is the absolute path of a file that holds the password alone',
  }
  fields.note({
    at: fields.where(name),
    message: `${fields.path}.${name} does not have the form of its kind`,
    hint: hints[name] ?? 'it has the form env:NAME or file:/absolute/path',
  })
  return null
}

/**
 * Where the password that the file holds is found: by the login it is for, so that it keeps its name as long as that
 * stays the same, and a server that takes the place of another never gets the password of that one.
 */
function writtenRef(login: Pick<NodeRecord, 'host' | 'port' | 'database' | 'user'>): string {
  const cell = makeHash64()
  const { host, port, database, user } = login
  HASHES.murmur3.ofBytes(new TextEncoder().encode(JSON.stringify([host, port, database, user])), cell)
  return `catalog:topology/${formatHash(cell.hi, cell.lo)}`
}
