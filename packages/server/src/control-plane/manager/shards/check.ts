// Checks of the servers that a shard shall have, and the claim of its database: two shards can never share one.
import { FleetError, type ShardId } from '@fleetshard/core'
import type { NodeCalls, NodeFacts, ShardClaim, ShardIdentity } from '../../../engine/mod.ts'
import type { Parts, Work } from '../parts.ts'
import type { NodeCandidate } from './node-group.ts'

/** Oldest Postgres that is supported, as `server_version_num`. */
export const versionNumberMin = 140_000
/** Pause between two looks at a replica that has not replayed the identity yet. */
const replayPollMs = 100

/**
 * Looks at all servers at once. The facts come in the order of the candidates.
 * @param first an open connection to the first of them, if there is one
 */
export async function checkNodes(
  work: Work,
  candidates: readonly NodeCandidate[],
  first: NodeCalls | null = null,
): Promise<readonly NodeFacts[]> {
  const facts = await Promise.all(
    candidates.map(async (candidate, index) => {
      const found = await inspect(work, candidate, index === 0 ? first : null)
      checkOne(candidate, found)
      return found
    }),
  )
  const [primary] = facts
  if (primary === undefined || candidates[0]?.node.role !== 'primary') return facts
  for (const [index, found] of facts.entries()) {
    const candidate = candidates[index]
    if (index > 0 && candidate !== undefined) checkSameCluster(candidate, found, primary)
  }
  return facts
}

/** One look at a server. @throws FleetError `node_check_failed` that names the field of the request */
export async function inspect(
  work: Work,
  candidate: NodeCandidate,
  open: NodeCalls | null = null,
): Promise<NodeFacts> {
  const { parts, signal } = work
  return asked(work, candidate, () =>
    open === null
      ? work.engine.inspectNode(candidate.target, { signal, timeoutMs: parts.nodeCheckMs })
      : open.inspect(),
  )
}

/**
 * Runs `use` on one connection to a server, whose errors it passes on as they are.
 * @throws FleetError `node_check_failed` that names the field of the request when there is no connection
 */
export async function onCandidate<T>(
  work: Work,
  candidate: NodeCandidate,
  use: (node: NodeCalls) => Promise<T>,
): Promise<T> {
  const { parts, engine, signal } = work
  let isOpen = false
  const open = (node: NodeCalls): Promise<T> => {
    isOpen = true
    return use(node)
  }
  try {
    return await engine.onNode(candidate.target, open, { signal, timeoutMs: parts.nodeCheckMs })
  } catch (error) {
    if (isOpen) throw error
    signal.throwIfAborted()
    throw failed(candidate, error)
  }
}

/** What the engine says of a server, under the name that the request has for it. */
async function asked<T>({ signal }: Work, candidate: NodeCandidate, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (error) {
    signal.throwIfAborted()
    throw failed(candidate, error)
  }
}

function failed({ field }: NodeCandidate, error: unknown): unknown {
  if (!(error instanceof FleetError)) return error
  return new FleetError('node_check_failed', `${field}: ${error.message}`, {
    hint: error.hint ?? 'check that the server runs and that the endpoint is right',
    facts: { field, check: error.code },
    cause: error,
  })
}

function checkOne(candidate: NodeCandidate, found: NodeFacts): void {
  if (found.versionNumber < versionNumberMin) {
    throw refused(candidate, 'version', `runs Postgres ${found.version}`, 'use Postgres 14 or newer')
  }
  if (candidate.node.role !== 'primary') {
    if (found.inRecovery) return
    throw refused(candidate, 'replica', 'is no replica: it accepts writes', 'give a standby of the primary')
  }
  if (found.inRecovery) {
    throw refused(candidate, 'writable', 'is a replica', 'give the primary that it follows')
  }
  if (found.readOnly) {
    throw refused(candidate, 'writable', 'is read-only', 'set default_transaction_read_only to off')
  }
  if (!found.mayCreate) {
    const login = candidate.target.user
    const hint = `grant create on database ${candidate.target.database} to ${login}`
    throw refused(candidate, 'privileges', `does not let ${login} create a schema`, hint)
  }
}

function checkSameCluster(candidate: NodeCandidate, found: NodeFacts, primary: NodeFacts): void {
  if (found.systemId !== null && primary.systemId !== null && found.systemId !== primary.systemId) {
    const hint = 'give standbys of this primary only'
    throw refused(candidate, 'cluster', 'is a replica of another server, not of the primary', hint)
  }
  if (found.database.name !== primary.database.name || found.database.oid !== primary.database.oid) {
    const hint = `give the database ${primary.database.name} of the replica`
    throw refused(candidate, 'database', 'names another database than the primary', hint)
  }
}

/** The refusal of a server, with the name of the check. */
function refused({ field }: NodeCandidate, check: string, what: string, hint: string): FleetError {
  return new FleetError('node_check_failed', `the server of ${field} ${what}`, {
    hint,
    facts: { field, check },
  })
}

/**
 * Makes the primary's database the shard's own. A claim that an earlier, failed creation left behind is taken away.
 * @throws FleetError `node_check_failed` that names the shard which has it
 */
export async function claimDatabase(
  work: Work,
  primary: { readonly candidate: NodeCandidate; readonly facts: NodeFacts; readonly node: NodeCalls },
  order: Omit<ShardClaim, 'cluster'>,
): Promise<ShardIdentity> {
  const { parts, signal } = work
  const { candidate, facts, node } = primary
  const cluster = parts.fleet.state().cluster ?? (await parts.catalog.cluster(signal))
  return asked(work, candidate, async () => {
    if (isLeftOver(parts, facts.identity, cluster.id, order.shard)) {
      parts.log.warn({ shard: facts.identity?.shard }, 'taking away the claim of a shard that does not exist')
      await node.release(facts.identity?.shard ?? order.shard)
    }
    return node.claim({ ...order, cluster: cluster.id })
  })
}

function isLeftOver(parts: Parts, identity: ShardIdentity | null, cluster: string, mine: ShardId): boolean {
  if (identity === null || identity.cluster !== cluster) return false
  if (parts.fleet.findShard(identity.shard) !== null) return false
  return identity.shard === mine || !parts.reservations.isReserved(identity.shard)
}

/**
 * Proves that replicas follow this very primary: each must show the identity that was just written there.
 * @throws FleetError `node_check_failed`
 */
export async function awaitIdentity(
  work: Work,
  replicas: readonly NodeCandidate[],
  identity: ShardIdentity,
): Promise<void> {
  const { parts, signal } = work
  await Promise.all(
    replicas.map(async (candidate) => {
      const deadline = parts.clock.monotonic() + parts.nodeCheckMs
      while (!(await showsIdentity(work, candidate, identity))) {
        if (parts.clock.monotonic() > deadline) {
          const hint = 'check that it streams from the primary and is not far behind'
          throw refused(candidate, 'follows', 'does not show what the primary wrote', hint)
        }
        await parts.clock.sleep(replayPollMs, signal)
      }
    }),
  )
}

async function showsIdentity(
  work: Work,
  candidate: NodeCandidate,
  identity: ShardIdentity,
): Promise<boolean> {
  const { parts, engine, signal } = work
  const seen = await asked(work, candidate, () =>
    engine.readIdentity(candidate.target, { signal, timeoutMs: parts.nodeCheckMs }),
  )
  return seen?.shard === identity.shard && seen.cluster === identity.cluster
}
