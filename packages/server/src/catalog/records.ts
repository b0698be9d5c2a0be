// The records of the catalog as schemas: every value read from the store goes through here, so that what is
// inside the process has the form that the types say. Unknown fields are kept, for a newer version wrote them.
import {
  FleetError,
  type AgentRecord,
  type Epoch,
  type JobId,
  type JobRecord,
  type KeyspaceName,
  type KeyspaceRecord,
  type KeyspaceSnapshot,
  type NodeId,
  type QuorumRecord,
  type RouterId,
  type RouterRecord,
  type SessionRecord,
  type ShardId,
  type ShardRecord,
  type TableRecord,
  type Term,
  type TokenRecord,
} from '@fleetshard/core'
import Type, { type Static, type TSchema } from 'typebox'
import type { SealedValue } from './sealer.ts'
import { compiledOnUse } from '@fleetshard/core/contract'

/** Identity of the whole cluster, made once. */
export interface ClusterRecord {
  /** UUID. */
  readonly id: string
  /** ISO 8601. */
  readonly createdAt: string
}

/** Who holds an election: what others need to know to find it. */
export interface CandidateRecord {
  readonly id: string
  /** Where it answers; null when it listens nowhere. */
  readonly url: string | null
  readonly since: string
}

/** Which worker works on a job; leased. */
export interface JobOwnerRecord {
  readonly worker: string
  readonly since: string
}

const id = '^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$'
const base64 = '^[A-Za-z0-9+/]*={0,2}$'
const counter = { minimum: 0, maximum: Number.MAX_SAFE_INTEGER }

const text = Type.String()
const textOrNull = Type.Union([Type.String(), Type.Null()])
const version = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })
const keyspaceName = Type.Unsafe<KeyspaceName>(Type.String({ pattern: '^[a-z_][a-z0-9_]{0,62}$' }))
const shardId = Type.Unsafe<ShardId>(Type.String({ pattern: id }))
const nodeId = Type.Unsafe<NodeId>(Type.String({ pattern: id }))
const jobId = Type.Unsafe<JobId>(Type.String({ pattern: id }))
const routerId = Type.Unsafe<RouterId>(Type.String({ pattern: id }))
const epoch = Type.Unsafe<Epoch>(Type.Integer(counter))
const term = Type.Unsafe<Term>(Type.Integer(counter))
const port = Type.Integer({ minimum: 1, maximum: 65_535 })

function oneOf<const T extends readonly string[]>(values: T) {
  return Type.Unsafe<T[number]>(Type.Enum([...values]))
}

const node = Type.Object({
  id: nodeId,
  role: oneOf(['primary', 'replica', 'standby']),
  host: Type.String({ minLength: 1 }),
  port,
  database: text,
  user: text,
  secretRef: textOrNull,
  tls: oneOf(['disable', 'require', 'verify-full']),
  region: textOrNull,
  zone: textOrNull,
  agent: textOrNull,
})

const shard = Type.Object({
  id: shardId,
  name: text,
  keyspace: keyspaceName,
  status: oneOf(['active', 'migrating', 'readonly', 'inactive']),
  statusReason: textOrNull,
  version,
  term,
  vnodes: Type.String({ pattern: base64 }),
  nodes: Type.Array(node),
  sequenceBlock: Type.Integer(counter),
  hold: Type.Optional(Type.Object({ job: jobId, attempt: Type.Integer(counter) })),
  leftovers: Type.Optional(Type.Object({ job: jobId })),
  createdAt: text,
})

const keyspace = Type.Object({
  name: keyspaceName,
  engine: oneOf(['postgres']),
  hash: oneOf(['murmur3', 'xxhash', 'postgres', 'fnv1a']),
  strategy: oneOf(['ring', 'modulo']),
  defaultConsistency: oneOf(['strong', 'eventual']),
  durability: Type.Optional(oneOf(['protection', 'availability', 'performance'])),
  nextSequenceBlock: Type.Integer(counter),
  version,
  createdAt: text,
})

const keyType = oneOf(['text', 'int2', 'int4', 'int8', 'uuid', 'bytea'])

const table = Type.Object({
  keyspace: keyspaceName,
  name: Type.String({ minLength: 1 }),
  kind: oneOf(['sharded', 'reference', 'global']),
  keyColumn: textOrNull,
  keyType: Type.Union([keyType, Type.Null()]),
  homeShard: Type.Union([shardId, Type.Null()]),
  ddl: textOrNull,
  version,
  createdAt: text,
})

const job = Type.Object({
  id: jobId,
  type: Type.String({ minLength: 1 }),
  keyspace: keyspaceName,
  status: oneOf(['pending', 'running', 'completed', 'failed', 'cancelled']),
  state: text,
  progress: Type.Number({ minimum: 0, maximum: 1 }),
  detail: Type.Unknown(),
  errorCode: textOrNull,
  errorMessage: textOrNull,
  version,
  createdAt: text,
  startedAt: textOrNull,
  completedAt: textOrNull,
  trace: Type.Optional(Type.String({ maxLength: 64 })),
})

const quorum = Type.Object({
  keyspace: keyspaceName,
  shard: shardId,
  sets: Type.Array(
    Type.Union([
      Type.Object({
        members: Type.Array(nodeId, { minItems: 1 }),
        required: Type.Integer({ minimum: 1, maximum: 32 }),
      }),
      Type.Null(),
    ]),
    { minItems: 1, maxItems: 3 },
  ),
  degradedSince: textOrNull,
  version,
})

const router = Type.Object({
  id: routerId,
  kind: Type.Optional(Type.Literal('direct')),
  host: text,
  httpPort: port,
  pid: Type.Integer(counter),
  version: text,
  region: textOrNull,
  zone: textOrNull,
  ackedEpochs: Type.Record(Type.String(), epoch),
  startedAt: text,
})

const agent = Type.Object({ id: text, url: text, tokenRef: textOrNull, startedAt: text })

const token = Type.Object({
  id: Type.String({ pattern: id }),
  name: text,
  digest: text,
  scopes: Type.Array(text),
  createdBy: text,
  createdAt: text,
  expiresAt: textOrNull,
  version,
})

const session = Type.Object({
  id: Type.String({ pattern: id }),
  digest: text,
  subject: text,
  name: textOrNull,
  role: oneOf(['viewer', 'operator', 'admin']),
  createdAt: text,
  expiresAt: text,
  version,
})

/** A secret: sealed, or as it is where there are no keys. */
export type SecretRecord = { readonly value: string } | { readonly sealed: SealedValue }

const base64Text = Type.String({ pattern: base64 })
const secret = Type.Union([
  Type.Object({ value: text }),
  Type.Object({ sealed: Type.Object({ key: text, dataKey: base64Text, data: base64Text }) }),
])

/** One kind of record: reads a stored value, and writes one. */
export interface RecordCodec<T> {
  readonly kind: string
  /** @param key named in the error @throws FleetError `corrupt_record` */
  parse(key: string, value: string): T
  /** @throws FleetError `corrupt_record` when a caller made a record that nobody could read back */
  encode(key: string, record: T): string
}

/** `secret` records never show up in an error's message. */
function codec<S extends TSchema>(kind: string, schema: S, secret = false): RecordCodec<Static<S>> {
  const compiled = compiledOnUse(schema)
  function check(key: string, value: unknown): Static<S> {
    const validator = compiled()
    if (validator.Check(value)) return value
    const [first] = secret ? [] : validator.Errors(value)
    const where = first === undefined ? '' : `: ${first.instancePath || '/'} ${first.message}`
    throw corrupt(key, `the ${kind} record at ${key} does not have the form of this version${where}`)
  }
  return {
    kind,
    parse: (key, value) => check(key, parseJson(key, kind, value)),
    encode: (key, record) => JSON.stringify(check(key, record)),
  }
}

function corrupt(key: string, message: string): FleetError {
  return new FleetError('corrupt_record', message, {
    hint: `restore the key ${key}, or upgrade to the version that wrote it`,
    facts: { key },
  })
}

function parseJson(key: string, kind: string, value: string): unknown {
  try {
    return JSON.parse(value)
  } catch {
    // The parser's own message quotes the value, which may be a secret.
    throw corrupt(key, `the ${kind} record at ${key} is not JSON`)
  }
}

/** The codec of each kind of record. The types are written out so that a schema can't drift from its model. */
export const codecs: {
  readonly cluster: RecordCodec<ClusterRecord>
  readonly keyspace: RecordCodec<KeyspaceRecord>
  readonly epoch: RecordCodec<{ readonly epoch: Epoch }>
  readonly shard: RecordCodec<ShardRecord>
  readonly table: RecordCodec<TableRecord>
  readonly job: RecordCodec<JobRecord>
  readonly jobOwner: RecordCodec<JobOwnerRecord>
  readonly quorum: RecordCodec<QuorumRecord>
  readonly router: RecordCodec<RouterRecord>
  readonly agent: RecordCodec<AgentRecord>
  readonly token: RecordCodec<TokenRecord>
  readonly session: RecordCodec<SessionRecord>
  readonly candidate: RecordCodec<CandidateRecord>
  readonly secret: RecordCodec<SecretRecord>
} = {
  cluster: codec('cluster', Type.Object({ id: Type.String({ minLength: 1 }), createdAt: text })),
  keyspace: codec('keyspace', keyspace),
  epoch: codec('epoch', Type.Object({ epoch })),
  shard: codec('shard', shard),
  table: codec('table', table),
  job: codec('job', job),
  jobOwner: codec('job owner', Type.Object({ worker: text, since: text })),
  quorum: codec('quorum', quorum),
  router: codec('router', router),
  agent: codec('agent', agent),
  token: codec('token', token, true),
  session: codec('session', session, true),
  candidate: codec('candidate', Type.Object({ id: text, url: textOrNull, since: text })),
  secret: codec('secret', secret, true),
}

const snapshotCodec: RecordCodec<KeyspaceSnapshot> = codec(
  'keyspace snapshot',
  Type.Object({ keyspace, epoch, shards: Type.Array(shard), tables: Type.Array(table) }),
)

/**
 * Reads a snapshot kept outside the catalog (a router's copy on disk).
 * @param where named in the error @throws FleetError `corrupt_record`
 */
export const parseSnapshot = (where: string, value: string): KeyspaceSnapshot =>
  snapshotCodec.parse(where, value)

/** The form that `parseSnapshot` reads. */
export const encodeSnapshot = (snapshot: KeyspaceSnapshot): string =>
  snapshotCodec.encode(snapshot.keyspace.name, snapshot)
