// Creating a shard: name and id are reserved, servers found or started, checked and claimed, declared tables made
// there, and the record committed. What fails on the way is undone, unless it may have been committed.
import {
  FleetError,
  parseTerm,
  vnodeCountDefault,
  type KeyspaceSnapshot,
  type ShardRecord,
} from '@fleetshard/core'
import type { CreateShard } from '@fleetshard/core/contract'
import type { StoreWrite } from '../../../catalog/mod.ts'
import type { Work } from '../parts.ts'
import type { AgentServer } from '../servers.ts'
import { awaitIdentity, checkNodes, claimDatabase, onCandidate } from './check.ts'
import { candidatesOf, candidatesOfServers, type NodeCandidate } from './node-group.ts'
import { placeShard, type Placed } from './place.ts'
import { prepareTables } from './prepare-tables.ts'
import type { Reservation } from './reservations.ts'

/** What a new shard is to be. */
export interface ShardOrder {
  readonly name: string
  readonly source:
    | { readonly kind: 'endpoints'; readonly primary: string; readonly replicas: readonly string[] }
    | { readonly kind: 'embedded'; readonly replicas: number; readonly agent?: string }
  readonly vnodeCount: number
}

/** The order of a request. @throws FleetError `invalid_request` where its fields contradict each other */
export function orderOf(body: CreateShard): ShardOrder {
  const { name, vnode_count: vnodeCount = vnodeCountDefault } = body
  if (body.nodes === 'embedded') {
    if (body.primary_endpoint !== undefined || (body.replicas?.length ?? 0) > 0) {
      throw invalid('primary_endpoint and replicas cannot go with nodes: "embedded"', 'give one or the other')
    }
    const agent = body.agent === undefined ? {} : { agent: body.agent }
    return { name, vnodeCount, source: { kind: 'embedded', replicas: body.replica_count ?? 0, ...agent } }
  }
  if (body.agent !== undefined) {
    throw invalid('agent goes with nodes: "embedded" only', 'who runs a server that exists is found out')
  }
  if (body.replica_count !== undefined) {
    throw invalid('replica_count goes with nodes: "embedded" only', 'list the endpoints in replicas')
  }
  if (body.primary_endpoint === undefined) {
    throw invalid('the body lacks primary_endpoint', 'give primary_endpoint, or nodes: "embedded"')
  }
  return {
    name,
    vnodeCount,
    source: { kind: 'endpoints', primary: body.primary_endpoint, replicas: body.replicas ?? [] },
  }
}

function invalid(message: string, hint: string): FleetError {
  return new FleetError('invalid_request', message, { hint })
}

/** A shard that must not get a part of the ring now, even where it could; the reason is shown with it. */
export interface Parked {
  readonly because?: string
}

function notReady(name: string, why: string): FleetError {
  return new FleetError('reshard_refused', `the target ${name} cannot take rows: ${why}`, {
    hint: 'give an empty database, with the tables as they are on the source where they were adopted',
  })
}

/** What was done so far, to be undone after a failure. */
interface Undo {
  claimed: NodeCandidate | null
  servers: readonly AgentServer[]
  /** True from the commit on, whose outcome may not be known. */
  committing: boolean
}

/** @throws FleetError; nothing is left behind then, but for `catalog_unavailable` during the commit */
export async function createShard(
  work: Work,
  keyspace: KeyspaceSnapshot,
  order: ShardOrder,
  parked: Parked = {},
): Promise<Placed> {
  const reservation = work.parts.reservations.reserve(keyspace.keyspace, order.name)
  const undo: Undo = { claimed: null, servers: [], committing: false }
  try {
    const candidates = await work.parts.checkSlots.run(work.signal, async () => {
      const provisioned = await provision(work, reservation, order, undo)
      await checkAndClaim(work, keyspace, { reservation, candidates: provisioned }, undo)
      return provisioned
    })
    return await work.parts.mutex.run(keyspace.keyspace.name, work.signal, async () => {
      return commit(work, keyspace, { reservation, order, candidates, parked }, undo)
    })
  } catch (error) {
    await undoAll(work, reservation, undo, error)
    throw error
  } finally {
    reservation.release()
  }
}

async function provision(
  work: Work,
  { id }: Reservation,
  { source }: ShardOrder,
  undo: Undo,
): Promise<readonly NodeCandidate[]> {
  const { parts, signal } = work
  if (source.kind === 'endpoints') return candidatesOf(parts, id, source, signal)
  const { kind: _kind, ...group } = source
  undo.servers = await parts.servers.startGroup({ name: id, ...group }, signal)
  return candidatesOfServers(parts, id, undo.servers, signal)
}

/** On one connection to the primary: logging in and waking a process there cost as much as all the rest. */
async function checkAndClaim(
  work: Work,
  { keyspace, epoch }: KeyspaceSnapshot,
  group: { readonly reservation: Reservation; readonly candidates: readonly NodeCandidate[] },
  undo: Undo,
): Promise<void> {
  const [primary, ...replicas] = group.candidates
  if (primary === undefined) throw new FleetError('internal', 'a shard without a primary')
  const { id, sequenceBlock } = group.reservation
  const order = { keyspace: keyspace.name, shard: id, term: parseTerm(1), epochMin: epoch, sequenceBlock }
  const identity = await onCandidate(work, primary, async (node) => {
    const [facts] = await checkNodes(work, group.candidates, node)
    if (facts === undefined) throw new FleetError('internal', 'a primary without facts')
    return claimDatabase(work, { candidate: primary, facts, node }, order)
  })
  undo.claimed = primary
  await awaitIdentity(work, replicas, identity)
}

async function commit(
  work: Work,
  { keyspace }: KeyspaceSnapshot,
  made: {
    readonly reservation: Reservation
    readonly order: ShardOrder
    readonly candidates: readonly NodeCandidate[]
    readonly parked: Parked
  },
  undo: Undo,
): Promise<Placed> {
  const { parts } = work
  const { id, sequenceBlock } = made.reservation
  refuseDuringSchemaJob(work, keyspace.name)
  const target = made.candidates[0]?.target
  if (target === undefined) throw new FleetError('internal', 'a shard without a primary')
  const { snapshot } = await parts.routing.base(keyspace.name, work.signal)
  const missing = await prepareTables(work, snapshot, { shard: id, sequenceBlock, target })
  if (missing !== null && made.parked.because !== undefined) throw notReady(made.order.name, missing)
  const obstacle = missing ?? made.parked.because ?? null
  undo.committing = true
  const record: ShardRecord = {
    id,
    name: made.order.name,
    keyspace: keyspace.name,
    status: 'inactive',
    statusReason: null,
    version: 0,
    term: parseTerm(1),
    vnodes: '',
    nodes: made.candidates.map(({ node }) => node),
    sequenceBlock,
    createdAt: new Date(parts.clock.now()).toISOString(),
  }
  const writes = made.candidates.flatMap(({ secret }): StoreWrite[] => (secret === null ? [] : [secret]))
  return placeShard(work, {
    record,
    vnodeCount: made.order.vnodeCount,
    obstacle,
    writes,
    version: null,
    dealt: { ranges: [] },
  })
}

/** @throws FleetError `conflict`: the job would miss the shard, or the shard the job's tables */
export function refuseDuringSchemaJob({ parts }: Work, keyspace: KeyspaceSnapshot['keyspace']['name']): void {
  const job = parts.fleet.schemaJob(keyspace)
  if (job === null) return
  throw new FleetError('conflict', `the schema job ${job} is changing the tables of ${keyspace}`, {
    hint: 'wait until it has ended',
    facts: { job_id: job },
  })
}

/** Codes of a commit that certainly did not happen. */
const NOT_COMMITTED = new Set([
  'already_exists',
  'version_mismatch',
  'catalog_conflict',
  'conflict',
  'catalog_limit',
  'not_found',
])

async function undoAll(work: Work, { id }: Reservation, undo: Undo, error: unknown): Promise<void> {
  const isCertain = !undo.committing || (error instanceof FleetError && NOT_COMMITTED.has(error.code))
  if (!isCertain) return
  const { parts, engine } = work
  // The change's own signal may be what ended it.
  const signal = AbortSignal.timeout(undoMsMax)
  try {
    if (undo.servers.length > 0) {
      for (const { agent, server } of undo.servers.toReversed())
        await parts.servers.drop(agent.id, server.id, signal)
    } else if (undo.claimed !== null) {
      await engine.release(undo.claimed.target, id, { signal })
    }
  } catch (left) {
    parts.log.warn(
      { err: left, shard: id },
      'a failed creation left something behind; the next one clears it',
    )
  }
}

const undoMsMax = 30_000
