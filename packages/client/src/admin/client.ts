// The manager's typed client: one method an endpoint, grouped by resource. Used by the CLI and the console.
import type {
  Adopt,
  Adoption,
  AuditList,
  AuditQuery,
  AuditVerification,
  CreatedToken,
  CreateToken,
  TokenList,
  CreatedNode,
  CreateKeyspace,
  CreateNode,
  CreateShard,
  CreateTables,
  Failover,
  FailoverList,
  Health,
  Job,
  JobList,
  JobListQuery,
  Keyspace,
  KeyspaceList,
  ManagerReady,
  MergeShards,
  MoveShard,
  RebalanceShards,
  FleetNode,
  NodeList,
  NodeListQuery,
  PatchKeyspace,
  PatchShard,
  NodeAddition,
  NodeOrder,
  NodeRemoval,
  PromoteShard,
  ReshardJob,
  ReshardPlan,
  SecretsRotation,
  Shard,
  ShardList,
  ShardListQuery,
  SplitShard,
  Table,
  TableCreation,
  TableList,
  TableSuggestionList,
  Topology,
  TopologyEvent,
  TopologyQuery,
  CreateVdiff,
  VdiffJob,
} from '@fleetshard/core/contract'
import { readEvents } from './events.ts'
import {
  createTransport,
  transportError,
  type AdminOptions,
  type CallOptions,
  type ChangeOptions,
  type Exchange,
  type Transport,
} from './transport.ts'

/** Keyspaces of the fleet. */
export interface KeyspaceCalls {
  list(options?: CallOptions): Promise<KeyspaceList>
  get(name: string, options?: CallOptions): Promise<Keyspace>
  create(body: CreateKeyspace, options?: CallOptions): Promise<Keyspace>
  patch(name: string, body: PatchKeyspace, options?: ChangeOptions): Promise<Keyspace>
  /** Only a keyspace without shards can be removed. */
  remove(name: string, options?: ChangeOptions): Promise<void>
  /** Makes an existing database a one-shard keyspace; no row moves. */
  adopt(name: string, body: Adopt, options?: CallOptions): Promise<Adoption>
}

/** Tables of a keyspace. */
export interface TableCalls {
  list(keyspace: string, options?: CallOptions): Promise<TableList>
  get(keyspace: string, name: string, options?: CallOptions): Promise<Table>
  /** Declares tables, and creates them on every shard when `ddl` is given. `job` is set while that goes on. */
  create(keyspace: string, body: CreateTables, options?: CallOptions): Promise<TableCreation>
  /** Takes the declaration back; the table itself stays on the shards. */
  remove(keyspace: string, name: string, options?: ChangeOptions): Promise<void>
  suggestions(keyspace: string, options?: CallOptions): Promise<TableSuggestionList>
}

/** Shards of all keyspaces. */
export interface ShardCalls {
  list(query?: ShardListQuery, options?: CallOptions): Promise<ShardList>
  get(id: string, options?: CallOptions): Promise<Shard>
  create(body: CreateShard, options?: CallOptions): Promise<Shard>
  patch(id: string, body: PatchShard, options?: ChangeOptions): Promise<Shard>
  remove(id: string, options?: ChangeOptions): Promise<void>
  /** Lets another node lead: a switchover, or with `force` a failover. Goes on when the call has returned. */
  promote(id: string, body: PromoteShard, options?: ChangeOptions): Promise<Failover>
  /** Who may lead the shard, and what became of its failovers, the newest first. */
  failovers(id: string, options?: CallOptions): Promise<FailoverList>
  /** One more replica, cloned from the primary by the job that is answered. */
  addNode(id: string, body: NodeAddition, options?: ChangeOptions): Promise<Failover>
  /** Makes a replica anew. */
  rebuildNode(id: string, node: string, body: NodeOrder, options?: ChangeOptions): Promise<Failover>
  /** Takes a replica out, and removes its server once no commit counts on it. */
  removeNode(id: string, node: string, options?: ChangeOptions): Promise<NodeRemoval>
}

/** Database servers of all shards, and embedded ones that no shard uses yet. */
export interface NodeCalls {
  list(query?: NodeListQuery, options?: CallOptions): Promise<NodeList>
  get(id: string, options?: CallOptions): Promise<FleetNode>
  create(body: CreateNode, options?: CallOptions): Promise<CreatedNode>
  /** Stops and removes an embedded server that no shard uses, and its data. */
  remove(id: string, options?: CallOptions): Promise<void>
}

/** Persisted workflows. */
export interface JobCalls {
  list(query?: JobListQuery, options?: CallOptions): Promise<JobList>
  get(id: string, options?: CallOptions): Promise<Job>
  /** The job now and at every change; ends after it is completed, failed or cancelled. */
  watch(id: string, signal?: AbortSignal): AsyncGenerator<Job, void, void>
}

/** Splits, merges, moves and rebalancing. With `dry_run` a call tells what would be done. */
export interface ReshardCalls {
  split(body: SplitShard, options?: CallOptions): Promise<ReshardJob>
  merge(body: MergeShards, options?: CallOptions): Promise<ReshardJob>
  move(body: MoveShard, options?: CallOptions): Promise<ReshardJob>
  rebalance(body: RebalanceShards, options?: CallOptions): Promise<ReshardJob>
  planSplit(body: SplitShard, options?: CallOptions): Promise<ReshardPlan>
  planMerge(body: MergeShards, options?: CallOptions): Promise<ReshardPlan>
  planMove(body: MoveShard, options?: CallOptions): Promise<ReshardPlan>
  planRebalance(body: RebalanceShards, options?: CallOptions): Promise<ReshardPlan>
  get(id: string, options?: CallOptions): Promise<ReshardJob>
  /** The job now and at every change; ends after it is completed, failed or cancelled. */
  watch(id: string, signal?: AbortSignal): AsyncGenerator<ReshardJob, void, void>
  pause(id: string, options?: ChangeOptions): Promise<ReshardJob>
  resume(id: string, options?: ChangeOptions): Promise<ReshardJob>
  cancel(id: string, options?: ChangeOptions): Promise<ReshardJob>
  /** Brings the rows back, with all that was written since, while the job is `reversible`. */
  reverse(id: string, options?: ChangeOptions): Promise<ReshardJob>
  /** Ends the phase in which they can be brought back. */
  complete(id: string, options?: ChangeOptions): Promise<ReshardJob>
}

/** Comparisons of rows. */
export interface VdiffCalls {
  create(body: CreateVdiff, options?: CallOptions): Promise<VdiffJob>
  get(id: string, options?: CallOptions): Promise<VdiffJob>
}

/** Tokens of the API. */
export interface TokenCalls {
  list(options?: CallOptions): Promise<TokenList>
  /** The only answer with the token itself. */
  create(body: CreateToken, options?: CallOptions): Promise<CreatedToken>
  /** By id or name. */
  revoke(id: string, options?: CallOptions): Promise<void>
}

/** Passwords in the catalog. */
export interface SecretCalls {
  /** Seals all of them with the first key that the manager has; may be repeated. */
  rotate(options?: CallOptions): Promise<SecretsRotation>
}

/** The audit log. */
export interface AuditCalls {
  /** The newest first. */
  list(query?: AuditQuery, options?: CallOptions): Promise<AuditList>
  verify(options?: CallOptions): Promise<AuditVerification>
}

/** The manager's API. Every call fails as a FleetError of the catalogue. */
export interface AdminClient {
  readonly keyspaces: KeyspaceCalls
  readonly tables: TableCalls
  readonly shards: ShardCalls
  readonly nodes: NodeCalls
  readonly jobs: JobCalls
  readonly reshard: ReshardCalls
  readonly vdiff: VdiffCalls
  readonly tokens: TokenCalls
  readonly secrets: SecretCalls
  readonly audit: AuditCalls
  topology(query?: TopologyQuery, options?: CallOptions): Promise<Topology>
  /** A snapshot, then every change; the caller opens it again when it ends or fails. */
  watchTopology(query?: TopologyQuery, signal?: AbortSignal): AsyncGenerator<TopologyEvent, void, void>
  health(options?: CallOptions): Promise<Health>
  /** @throws FleetError `server_unreachable` also while the manager answers 503 */
  ready(options?: CallOptions): Promise<ManagerReady>
}

/** A client of the manager at that URL; does no I/O until a method is called. */
export function createAdminClient(options: AdminOptions): AdminClient {
  const transport = createTransport(options)
  return {
    keyspaces: keyspaceCalls(transport),
    tables: tableCalls(transport),
    shards: shardCalls(transport),
    nodes: nodeCalls(transport),
    jobs: jobCalls(transport),
    reshard: reshardCalls(transport),
    vdiff: vdiffCalls(transport),
    tokens: tokenCalls(transport),
    secrets: {
      rotate: (call) => send(transport, { method: 'POST', path: '/api/v1/secrets/rotation' }, call),
    },
    audit: auditCalls(transport),
    topology: (query, call) => get<Topology>(transport, '/api/v1/topology', query, call),
    watchTopology: (query, signal) =>
      stream<TopologyEvent>(
        transport,
        { method: 'GET', path: '/api/v1/topology', query: query ?? {} },
        signal,
      ),
    health: (call) => get<Health>(transport, '/health', undefined, call),
    ready: (call) => get<ManagerReady>(transport, '/ready', undefined, call),
  }
}

function keyspaceCalls(transport: Transport): KeyspaceCalls {
  const path = (name: string): string => `/api/v1/keyspaces/${encodeURIComponent(name)}`
  return {
    list: (call) => get(transport, '/api/v1/keyspaces', undefined, call),
    get: (name, call) => get(transport, path(name), undefined, call),
    create: (body, call) => send(transport, { method: 'POST', path: '/api/v1/keyspaces', body }, call),
    patch: (name, body, call) => send(transport, { method: 'PATCH', path: path(name), body }, call),
    remove: (name, call) => send(transport, { method: 'DELETE', path: path(name) }, call),
    adopt: (name, body, call) => send(transport, { method: 'POST', path: `${path(name)}/adopt`, body }, call),
  }
}

function tableCalls(transport: Transport): TableCalls {
  const root = (keyspace: string): string => `/api/v1/keyspaces/${encodeURIComponent(keyspace)}/tables`
  const path = (keyspace: string, name: string): string => `${root(keyspace)}/${encodeURIComponent(name)}`
  return {
    list: (keyspace, call) => get(transport, root(keyspace), undefined, call),
    get: (keyspace, name, call) => get(transport, path(keyspace, name), undefined, call),
    create: (keyspace, body, call) => send(transport, { method: 'POST', path: root(keyspace), body }, call),
    remove: (keyspace, name, call) => send(transport, { method: 'DELETE', path: path(keyspace, name) }, call),
    suggestions: (keyspace, call) => get(transport, `${root(keyspace)}/suggestions`, undefined, call),
  }
}

function shardCalls(transport: Transport): ShardCalls {
  const path = (id: string): string => `/api/v1/shards/${encodeURIComponent(id)}`
  return {
    list: (query, call) => get(transport, '/api/v1/shards', query, call),
    get: (id, call) => get(transport, path(id), undefined, call),
    create: (body, call) => send(transport, { method: 'POST', path: '/api/v1/shards', body }, call),
    patch: (id, body, call) => send(transport, { method: 'PATCH', path: path(id), body }, call),
    remove: (id, call) => send(transport, { method: 'DELETE', path: path(id) }, call),
    promote: (id, body, call) => send(transport, { method: 'POST', path: `${path(id)}/promote`, body }, call),
    failovers: (id, call) => get(transport, `${path(id)}/failovers`, undefined, call),
    addNode: (id, body, call) => send(transport, { method: 'POST', path: `${path(id)}/nodes`, body }, call),
    rebuildNode: (id, node, body, call) =>
      send(
        transport,
        { method: 'POST', path: `${path(id)}/nodes/${encodeURIComponent(node)}/rebuild`, body },
        call,
      ),
    removeNode: (id, node, call) =>
      send(transport, { method: 'DELETE', path: `${path(id)}/nodes/${encodeURIComponent(node)}` }, call),
  }
}

function nodeCalls(transport: Transport): NodeCalls {
  const path = (id: string): string => `/api/v1/nodes/${encodeURIComponent(id)}`
  return {
    list: (query, call) => get(transport, '/api/v1/nodes', query, call),
    get: (id, call) => get(transport, path(id), undefined, call),
    create: (body, call) => send(transport, { method: 'POST', path: '/api/v1/nodes', body }, call),
    remove: (id, call) => send(transport, { method: 'DELETE', path: path(id) }, call),
  }
}

function jobCalls(transport: Transport): JobCalls {
  const path = (id: string): string => `/api/v1/jobs/${encodeURIComponent(id)}`
  return {
    list: (query, call) => get(transport, '/api/v1/jobs', query, call),
    get: (id, call) => get(transport, path(id), undefined, call),
    watch: (id, signal) => stream<Job>(transport, { method: 'GET', path: path(id) }, signal),
  }
}

function reshardCalls(transport: Transport): ReshardCalls {
  const root = '/api/v1/reshard'
  const path = (id: string): string => `${root}/jobs/${encodeURIComponent(id)}`
  const begin =
    <Body extends object, Answer>(word: string, isDry: boolean) =>
    (body: Body, call?: CallOptions): Promise<Answer> =>
      send(
        transport,
        { method: 'POST', path: `${root}/${word}`, body: isDry ? { ...body, dry_run: true } : body },
        call,
      )
  const order =
    (word: string) =>
    (id: string, call?: ChangeOptions): Promise<ReshardJob> =>
      send(transport, { method: 'POST', path: `${path(id)}/${word}` }, call)
  return {
    split: begin('split', false),
    merge: begin('merge', false),
    move: begin('move', false),
    rebalance: begin('rebalance', false),
    planSplit: begin('split', true),
    planMerge: begin('merge', true),
    planMove: begin('move', true),
    planRebalance: begin('rebalance', true),
    get: (id, call) => get(transport, path(id), undefined, call),
    watch: (id, signal) => stream<ReshardJob>(transport, { method: 'GET', path: path(id) }, signal),
    pause: order('pause'),
    resume: order('resume'),
    cancel: order('cancel'),
    reverse: order('reverse'),
    complete: order('complete'),
  }
}

function vdiffCalls(transport: Transport): VdiffCalls {
  const root = '/api/v1/vdiff'
  return {
    create: (body, call) => send(transport, { method: 'POST', path: root, body }, call),
    get: (id, call) => get(transport, `${root}/${encodeURIComponent(id)}`, undefined, call),
  }
}

function tokenCalls(transport: Transport): TokenCalls {
  const root = '/api/v1/tokens'
  return {
    list: (call) => get(transport, root, undefined, call),
    create: (body, call) => send(transport, { method: 'POST', path: root, body }, call),
    revoke: (id, call) =>
      send(transport, { method: 'DELETE', path: `${root}/${encodeURIComponent(id)}` }, call),
  }
}

function auditCalls(transport: Transport): AuditCalls {
  const root = '/api/v1/audit'
  return {
    list: (query, call) => get(transport, root, query, call),
    verify: (call) => get(transport, `${root}/verification`, undefined, call),
  }
}

// The manager is the other half of this contract and is held to its schemas by tests: its answers are not
// validated again here, which keeps the schema library out of clients and browsers.
async function get<T>(
  transport: Transport,
  path: string,
  query: Exchange['query'] = {},
  call?: CallOptions,
): Promise<T> {
  return (await transport.call({ method: 'GET', path, query }, call)) as T
}

async function send<T>(transport: Transport, exchange: Exchange, call?: ChangeOptions): Promise<T> {
  return (await transport.call(exchange, call)) as T
}

async function* stream<T>(
  transport: Transport,
  exchange: Exchange,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, void> {
  const response = await transport.open({ ...exchange, headers: { accept: 'text/event-stream' } }, signal)
  if (response.body === null) return
  try {
    for await (const { text } of readEvents(response.body)) yield JSON.parse(text) as T
  } catch (error) {
    throw transportError(error, { url: new URL(response.url), deadline: undefined, signal })
  }
}
