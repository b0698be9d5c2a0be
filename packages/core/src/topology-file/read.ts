// A topology file, from its text to the keyspace that routers and clients work with. Pure: who reads the file from
// disk, and what passwords elsewhere are, is the caller's affair.
import { serverKey } from '../endpoint.ts'
import { FleetError } from '../errors/fleet-error.ts'
import { parseEpoch, parseKeyspaceName, parseShardId, parseTerm, type Epoch } from '../ids.ts'
import type {
  Consistency,
  HashName,
  KeyspaceRecord,
  KeyspaceSnapshot,
  NodeRecord,
  ShardRecord,
  Strategy,
} from '../model.ts'
import { createRingDealer } from '../ring/dealer.ts'
import { buildRing } from '../ring/ring.ts'
import { vnodeCountDefault } from '../ring/tokens.ts'
import {
  fieldsOf,
  integerField,
  listField,
  required,
  textField,
  wordField,
  type Fields,
  type Mistake,
  type NoteMistake,
} from './fields.ts'
import { JsonSyntaxError, parseJsonTree, positionOf, type JsonNode } from '../json-tree.ts'
import { readNode, TLS_MODES, type FileNode } from './nodes.ts'
import { readTables } from './tables.ts'

/** Largest topology file, in characters. */
export const topologyCharsMax = 4 * 1024 * 1024
/** Most shards, replicas of one, and tables. */
const shardsMax = 1_024
const replicasMax = 16
const tablesMax = 10_000
const vnodesMax = 1_024
/** Mistakes that are kept; more would not be read. */
const mistakesMax = 50

/** Records of a file have no time of their own; one that never changes tells versions of a file from other keyspaces. */
const createdAt = '1970-01-01T00:00:00.000Z'

/** What a topology file says. */
export interface Topology {
  readonly snapshot: KeyspaceSnapshot
  /** The passwords that the file holds itself, by the `secretRef` of their nodes. Never to be printed. */
  readonly passwords: ReadonlyMap<string, string>
}

/** Something wrong in a file, for people. Holds no password. */
export interface TopologyMistake {
  readonly line: number
  readonly column: number
  readonly message: string
  readonly hint: string | null
}

/** What came of reading a text. */
export type TopologyReading =
  | { readonly kind: 'read'; readonly topology: Topology }
  | { readonly kind: 'refused'; readonly mistakes: readonly [TopologyMistake, ...TopologyMistake[]] }

const FIELDS = [
  'keyspace',
  'strategy',
  'hash',
  'vnodes',
  'default_consistency',
  'tls',
  'tables',
  'shards',
] as const
const SHARD_FIELDS = ['shard_id', 'primary', 'replicas'] as const
const STRATEGIES = ['modulo', 'ring'] as const satisfies readonly Strategy[]
const HASH_NAMES = ['fnv1a', 'murmur3', 'xxhash', 'postgres'] as const satisfies readonly HashName[]
const CONSISTENCIES = ['strong', 'eventual'] as const satisfies readonly Consistency[]

/**
 * The topology of a text.
 * @param options.name how the error calls the file
 * @param options.epoch of the snapshot; 1 by default
 * @throws FleetError `invalid_config` with the line and column of the first mistake
 */
export function parseTopologyFile(
  text: string,
  options: { readonly name: string; readonly epoch?: Epoch },
): Topology {
  const reading = readTopologyFile(text, options.epoch)
  if (reading.kind === 'read') return reading.topology
  const [first] = reading.mistakes
  const more = reading.mistakes.length - 1
  const rest = more === 0 ? '' : ` (and ${String(more)} more; fleetshard topology validate shows all)`
  const { line, column, message, hint } = first
  throw new FleetError(
    'invalid_config',
    `${options.name}, line ${String(line)}, column ${String(column)}: ${message}${rest}`,
    { hint: hint ?? 'docs/guides/static-mode.md has a complete example', facts: { line, column } },
  )
}

/** The topology of a text, or all that is wrong with it. Never throws. */
export function readTopologyFile(text: string, epoch: Epoch = parseEpoch(1)): TopologyReading {
  const mistakes: Mistake[] = []
  const note: NoteMistake = (mistake) => {
    if (mistakes.length < mistakesMax) mistakes.push(mistake)
  }
  const topology = readText(text.replace(/^\uFEFF/, ' '), epoch, note)
  const [first, ...rest] = mistakes
    .toSorted((a, b) => a.at - b.at)
    .map(({ at, message, hint }) => ({ ...positionOf(text, at), message, hint: hint ?? null }))
  if (first !== undefined) return { kind: 'refused', mistakes: [first, ...rest] }
  if (topology !== null) return { kind: 'read', topology }
  throw new FleetError('internal', 'a topology file was refused without a reason')
}

function readText(text: string, epoch: Epoch, note: NoteMistake): Topology | null {
  if (text.length > topologyCharsMax) {
    note({ at: 0, message: `the file has more than ${String(topologyCharsMax)} characters` })
    return null
  }
  try {
    const fields = fieldsOf(parseJsonTree(text), 'the file', FIELDS, note)
    return fields === null ? null : readFile(fields, epoch)
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error
    note({
      at: error.at,
      message: `this is not JSON: ${error.message}`,
      hint: 'the file is JSON without comments; texts stand in double quotes, fields and items are separated by commas',
    })
    return null
  }
}

function readFile(fields: Fields, epoch: Epoch): Topology | null {
  const { note } = fields
  const name = keyspaceNameOf(fields)
  const placement = placementOf(fields)
  const defaultConsistency = wordField(fields, 'default_consistency', CONSISTENCIES) ?? 'strong'
  const shards = readShards(fields)
  refuseSharedDatabases(shards, note)
  if (placement?.strategy === 'modulo') refuseMissingNumbers(shards, note)
  const shardNumbers = new Set(shards.map(({ number }) => number))
  const keyspace = parseKeyspaceName(name ?? 'default')
  const tables = readTables(listField(fields, 'tables', tablesMax), {
    keyspace,
    createdAt,
    shardNumbers,
    note,
  })
  if (name === undefined || placement === null || shards.length === 0) return null
  const record: KeyspaceRecord = {
    name: keyspace,
    engine: 'postgres',
    hash: placement.hash,
    strategy: placement.strategy,
    defaultConsistency,
    nextSequenceBlock: Math.max(...shardNumbers) + 1,
    version: 1,
    createdAt,
  }
  const inOrder = shards.toSorted((a, b) => a.number - b.number)
  const records = withVnodes(
    inOrder.map((shard) => recordOf(shard, record)),
    placement,
  )
  return { snapshot: { keyspace: record, epoch, shards: records, tables }, passwords: passwordsOf(shards) }
}

function keyspaceNameOf(fields: Fields): string | undefined {
  if (fields.node('keyspace') === undefined) return 'default'
  const name = textField(fields, 'keyspace')
  if (name === undefined || /^[a-z_][a-z0-9_]{0,62}$/.test(name)) return name
  fields.note({
    at: fields.where('keyspace'),
    message: 'keyspace is not the name of a keyspace',
    hint: 'lowercase letters, digits and _, at most 63, beginning with a letter or _',
  })
  return undefined
}

interface FilePlacement {
  readonly strategy: Strategy
  readonly hash: HashName
  /** Vnodes of a shard under `ring`. */
  readonly vnodeCount: number
}

/** Null when the fields do not fit together, which is noted. */
function placementOf(fields: Fields): FilePlacement | null {
  const { note } = fields
  const strategy =
    fields.node('strategy') === undefined ? 'modulo' : wordField(fields, 'strategy', STRATEGIES)
  if (strategy === undefined) return null
  const hashDefault = strategy === 'modulo' ? 'fnv1a' : 'murmur3'
  const hash = fields.node('hash') === undefined ? hashDefault : wordField(fields, 'hash', HASH_NAMES)
  const vnodeCount = integerField(fields, 'vnodes', { min: 1, max: vnodesMax }) ?? vnodeCountDefault
  if (strategy === 'modulo' && fields.node('vnodes') !== undefined) {
    note({ at: fields.where('vnodes'), message: 'vnodes are for "strategy": "ring"', hint: 'leave them out' })
  }
  if (hash === undefined) return null
  if ((hash === 'fnv1a') === (strategy === 'modulo')) return { strategy, hash, vnodeCount }
  note({
    at: fields.where('hash'),
    message:
      strategy === 'modulo'
        ? `strategy modulo has the hash fnv1a, not ${hash}`
        : 'strategy ring needs a hash of 64 bits, and fnv1a has 32',
    hint:
      strategy === 'modulo'
        ? `leave out "hash", or add "strategy": "ring"`
        : 'use murmur3, xxhash or postgres, or "strategy": "modulo"',
  })
  return null
}

interface FileShard {
  readonly number: number
  readonly at: number
  /** The primary first. */
  readonly nodes: readonly FileNode[]
}

function readShards(fields: Fields): readonly FileShard[] {
  const { note } = fields
  const node = required(fields, 'shards', '"shards": [{ "shard_id": 0, "primary": { … } }]')
  if (node?.kind === 'array' && node.items.length === 0)
    note({ at: node.at, message: 'there is no shard', hint: 'list at least one' })
  const tls = wordField(fields, 'tls', TLS_MODES)
  const shards = new Map<number, FileShard>()
  for (const [index, item] of listField(fields, 'shards', shardsMax).entries()) {
    const shard = readShard(item, { path: `shards[${String(index)}]`, tls, note })
    if (shard === null) continue
    if (shards.has(shard.number)) {
      note({
        at: shard.at,
        message: `shard_id ${String(shard.number)} is given to two shards`,
        hint: 'each shard has a number of its own, from 0 on',
      })
    }
    shards.set(shard.number, shard)
  }
  return [...shards.values()]
}

function readShard(
  item: JsonNode,
  { path, tls, note }: { path: string; tls: NodeRecord['tls'] | undefined; note: NoteMistake },
): FileShard | null {
  const fields = fieldsOf(item, path, SHARD_FIELDS, note)
  if (fields === null) return null
  const numberNode = required(fields, 'shard_id', '"shard_id": 0')
  const number = integerField(fields, 'shard_id', { min: 0, max: shardsMax * 1_024 })
  const primary = required(fields, 'primary', '"primary": { "host": …, "user": …, "dbname": … }')
  // Named by the number that the file means, also while other things are wrong.
  const name = `shard-${number === undefined ? 'unknown' : String(number)}`
  const servers = [
    ...(primary === undefined ? [] : [{ node: primary, path: `${path}.primary`, role: 'primary' as const }]),
    ...listField(fields, 'replicas', replicasMax).map((node, index) => ({
      node,
      path: `${path}.replicas[${String(index)}]`,
      role: 'replica' as const,
    })),
  ]
  const nodes = servers.map(({ node, path: nodePath, role }, index) => {
    const id = role === 'primary' ? `${name}-primary` : `${name}-replica-${String(index)}`
    return readNode(node, { path: nodePath, id, role, tls }, note)
  })
  if (number === undefined || numberNode === undefined) return null
  return { number, at: numberNode.at, nodes: nodes.filter((node) => node !== null) }
}

/** Two shards in one database would each hold rows of the other. */
function refuseSharedDatabases(shards: readonly FileShard[], note: NoteMistake): void {
  const seen = new Map<string, FileNode>()
  for (const node of shards.flatMap(({ nodes }) => nodes)) {
    const key = databaseKey(node.record)
    const before = seen.get(key)
    if (before === undefined) seen.set(key, node)
    else {
      note({
        at: node.at,
        message: `${node.path} is the same database as ${before.path}`,
        hint: 'each server of each shard has a database of its own: check host, port and dbname',
      })
    }
  }
}

/** One text for a database, to compare by. */
export function databaseKey(node: Pick<NodeRecord, 'host' | 'port' | 'database'>): string {
  return `${serverKey(node)}/${node.database}`
}

function refuseMissingNumbers(shards: readonly FileShard[], note: NoteMistake): void {
  const numbers = new Set(shards.map(({ number }) => number))
  const missing = shards.findIndex((_shard, number) => !numbers.has(number))
  const beyond = shards.find(({ number }) => number >= shards.length)
  if (missing < 0 || beyond === undefined) return
  note({
    at: beyond.at,
    message: `shard_id ${String(beyond.number)} is beyond the number of shards, and number ${String(missing)} is missing`,
    hint: 'under modulo the numbers of n shards are 0 to n-1, since a key lies on shard hash % n',
  })
}

function recordOf({ number, nodes }: FileShard, keyspace: KeyspaceRecord): ShardRecord {
  return {
    id: parseShardId(String(number)),
    name: `shard-${String(number)}`,
    keyspace: keyspace.name,
    status: 'active',
    statusReason: null,
    version: 1,
    term: parseTerm(1),
    vnodes: '',
    nodes: nodes.map(({ record }) => record),
    sequenceBlock: number,
    createdAt,
  }
}

/**
 * Under `ring`, the tokens that a catalog would have dealt to the same shards added one by one in the order of their
 * numbers. They follow from numbers and count of vnodes alone, so that all who read the file agree.
 */
function withVnodes(
  shards: readonly ShardRecord[],
  { strategy, vnodeCount }: FilePlacement,
): readonly ShardRecord[] {
  if (strategy === 'modulo') return shards
  const dealer = createRingDealer(buildRing([]))
  return shards.map((shard) => ({
    ...shard,
    vnodes: dealer.add({ id: shard.id, vnodeCount }).vnodes.get(shard.id) ?? '',
  }))
}

function passwordsOf(shards: readonly FileShard[]): ReadonlyMap<string, string> {
  const passwords = new Map<string, string>()
  for (const { record, password } of shards.flatMap(({ nodes }) => nodes)) {
    if (password !== null && record.secretRef !== null) passwords.set(record.secretRef, password)
  }
  return passwords
}
