// The layout of the catalog's keys: the only place that builds or reads a key.
import {
  parseJobId,
  parseKeyspaceName,
  parseRouterId,
  parseShardId,
  type JobId,
  type KeyspaceName,
  type RouterId,
  type ShardId,
} from '@fleetshard/core'

/** Numbers whose order is that of their texts. */
const digits = (value: number): string => String(value).padStart(12, '0')

/** Builders of keys and of the prefixes that hold several. */
export const keys = {
  all: '',
  cluster: 'cluster',
  keyspaces: 'keyspaces/',
  keyspace: (keyspace: KeyspaceName) => `keyspaces/${keyspace}`,
  epoch: (keyspace: KeyspaceName) => `keyspaces/${keyspace}/epoch`,
  shards: (keyspace: KeyspaceName) => `keyspaces/${keyspace}/shards/`,
  shard: (keyspace: KeyspaceName, shard: ShardId) => `keyspaces/${keyspace}/shards/${shard}`,
  tables: (keyspace: KeyspaceName) => `keyspaces/${keyspace}/tables/`,
  table: (keyspace: KeyspaceName, table: string) => `keyspaces/${keyspace}/tables/${table}`,
  quorums: 'quorums/',
  quorum: (keyspace: KeyspaceName, shard: ShardId) => `quorums/${keyspace}/${shard}`,
  jobs: 'jobs/',
  job: (job: JobId) => `jobs/${job}`,
  jobOwner: (job: JobId) => `jobs/${job}/owner`,
  routers: 'routers/',
  router: (router: RouterId) => `routers/${router}`,
  agents: 'agents/',
  agent: (agent: string) => `agents/${agent}`,
  election: (name: string) => `elections/${name}`,
  tokens: 'tokens/',
  token: (token: string) => `tokens/${token}`,
  sessions: 'sessions/',
  session: (session: string) => `sessions/${session}`,
  audit: 'audit/',
  auditHead: 'audit/head',
  auditBucket: (bucket: number) => `audit/${digits(bucket)}/`,
  auditRecord: (bucket: number, seq: number) => `audit/${digits(bucket)}/${digits(seq)}`,
  secrets: 'secrets/',
  secret: (name: string) => `secrets/${name}`,
} as const

/** What a key names. `other`: a key of a later version, of an election, of the audit log, or of a secret. */
export type ParsedKey =
  | { readonly kind: 'cluster' }
  | { readonly kind: 'keyspace'; readonly keyspace: KeyspaceName }
  | { readonly kind: 'epoch'; readonly keyspace: KeyspaceName }
  | { readonly kind: 'shard'; readonly keyspace: KeyspaceName; readonly shard: ShardId }
  | { readonly kind: 'table'; readonly keyspace: KeyspaceName; readonly table: string }
  | { readonly kind: 'job'; readonly job: JobId }
  | { readonly kind: 'job_owner'; readonly job: JobId }
  | { readonly kind: 'router'; readonly router: RouterId }
  | { readonly kind: 'agent'; readonly agent: string }
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'session'; readonly session: string }
  | { readonly kind: 'other' }

const other: ParsedKey = { kind: 'other' }

/** Reads a key. @throws FleetError `invalid_id` when a part is not a valid name */
export function parseKey(key: string): ParsedKey {
  const [head, ...rest] = key.split('/')
  const [name] = rest
  if (key === keys.cluster) return { kind: 'cluster' }
  if (name === undefined || name === '') return other
  if (head === 'keyspaces') return parseKeyspaceKey(parseKeyspaceName(name), rest.slice(1))
  if (head === 'jobs' && rest.length === 1) return { kind: 'job', job: parseJobId(name) }
  if (head === 'jobs' && rest[1] === 'owner') return { kind: 'job_owner', job: parseJobId(name) }
  if (rest.length !== 1) return other
  if (head === 'routers') return { kind: 'router', router: parseRouterId(name) }
  if (head === 'agents') return { kind: 'agent', agent: name }
  if (head === 'tokens') return { kind: 'token', token: name }
  if (head === 'sessions') return { kind: 'session', session: name }
  return other
}

function parseKeyspaceKey(keyspace: KeyspaceName, rest: readonly string[]): ParsedKey {
  const [kind, ...names] = rest
  if (kind === undefined) return { kind: 'keyspace', keyspace }
  if (kind === 'epoch' && names.length === 0) return { kind: 'epoch', keyspace }
  // A table's name is what Postgres prints, which may hold a slash: everything after the prefix is the name.
  if (kind === 'tables' && names.length > 0) return { kind: 'table', keyspace, table: names.join('/') }
  const [shard] = names
  if (kind === 'shards' && shard !== undefined && names.length === 1) {
    return { kind: 'shard', keyspace, shard: parseShardId(shard) }
  }
  return other
}
