// What an agent asks before it starts a server that was a primary: does the catalog still say that it leads its shard?
// SPEC.md of control-plane/health, invariant 6.
import { isFleetError, toFleetError, type Clock, type JobId, type ShardRecord } from '@fleetshard/core'
import type { BootGuard } from '../agent/mod.ts'
import type { Catalog } from '../catalog/mod.ts'
import {
  failoverJobType,
  parseFailoverDetail,
  parseFailoverState,
  unsettledStates,
} from '../control-plane/health/mod.ts'
import type { Logger } from '../runtime/mod.ts'

/** How long a server that this agent has watched all the time waits for a catalog that does not answer. */
const patienceMs = 2_000
const retryMs = 250

/** What the guard stands on. */
export interface BootGuardParts {
  readonly catalog: Catalog
  /** Id of the agent, as node records have it. */
  readonly agent: string
  readonly clock: Clock
  readonly log: Logger
}

/**
 * At boot it waits for the catalog as long as it takes: a promotion may have passed the server by. After a crash under
 * this agent's eyes it starts without an answer after a while, since whoever promotes another server without quorum
 * commit has the agent fence this one first, and with quorum commit has cut it off from its replicas.
 */
export function createBootGuard(parts: BootGuardParts): BootGuard {
  const { clock, log } = parts
  return async (server, occasion, signal) => {
    const beganMs = clock.monotonic()
    for (;;) {
      signal.throwIfAborted()
      const verdict = await ask(parts, server.id, signal)
      if (verdict === 'lead' || verdict === 'superseded') return verdict
      if (verdict === 'unknown' && occasion === 'restart' && clock.monotonic() - beganMs > patienceMs) {
        log.warn({ server: server.id }, 'the catalog does not answer; the server starts as what it was')
        return 'lead'
      }
      await clock.sleep(retryMs, signal)
    }
  }
}

/** `undecided`: a failover of the shard is under way. `unknown`: the catalog does not tell. */
async function ask(
  { catalog, agent, log }: BootGuardParts,
  id: string,
  signal: AbortSignal,
): Promise<'lead' | 'superseded' | 'undecided' | 'unknown'> {
  try {
    const shard = await shardOf(catalog, { agent, id }, signal)
    const node = shard?.nodes.find((one) => one.id === id)
    if (shard === null || node === undefined) return 'lead'
    if (node.role !== 'primary') return 'superseded'
    const job = shard.hold?.job
    return job !== undefined && (await isDecidedAgainst(catalog, { job, id }, signal)) ? 'undecided' : 'lead'
  } catch (error) {
    signal.throwIfAborted()
    if (!isFleetError(error, 'catalog_unavailable')) {
      log.warn(
        { server: id, reason: toFleetError(error).message },
        'it cannot be told whether the server leads',
      )
    }
    return 'unknown'
  }
}

async function shardOf(
  catalog: Catalog,
  wanted: { readonly agent: string; readonly id: string },
  signal: AbortSignal,
): Promise<ShardRecord | null> {
  for (const { record } of await catalog.keyspaces.list(signal)) {
    for (const { record: shard } of await catalog.shards.list(record.name, signal)) {
      if (shard.nodes.some(({ agent, id }) => agent === wanted.agent && id === wanted.id)) return shard
    }
  }
  return null
}

async function isDecidedAgainst(
  catalog: Catalog,
  { job, id }: { readonly job: JobId; readonly id: string },
  signal: AbortSignal,
): Promise<boolean> {
  const record = (await catalog.jobs.get(job, signal))?.record
  if (record?.type !== failoverJobType) return false
  return (
    unsettledStates.has(parseFailoverState(record.state)) && parseFailoverDetail(record.detail).from === id
  )
}
