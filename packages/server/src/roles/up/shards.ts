// What a new local cluster is filled with, through the manager's own API: the keyspace `default`, and its node groups
// as shards. Safe to repeat, so that a start that was interrupted goes on.
import { createAdminClient, type AdminClient } from '@fleetshard/client/admin'
import { FleetError, formatEndpoint, isFleetError, type Clock } from '@fleetshard/core'
import { createRouterClient } from '../../cli/mod.ts'
import type { LocalGroup } from '../../local/mod.ts'

/** The keyspace of requests that name none. */
const keyspace = 'default'
/** For the manager to be elected, agents to be registered and checks to pass. */
const patienceMs = 30_000
const retryMs = 100
const requestMsMax = 60_000

/** What filling takes. */
export interface FillParts {
  readonly managerUrl: string
  readonly routerUrl: string
  /** Of the cluster's operator. */
  readonly token: string | null
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly say: (text: string) => void
  readonly fetch: typeof fetch
}

/** Makes what is missing. @throws FleetError of the manager */
export async function fillCatalog(parts: FillParts, groups: readonly LocalGroup[]): Promise<void> {
  const admin = adminOf(parts)
  await patiently(parts, () => makeKeyspace(admin, parts.signal))
  const known = await shardsOf(admin, parts.signal)
  for (const [index, group] of groups.entries()) {
    const name = `shard-${String(index + 1).padStart(2, '0')}`
    parts.say(name)
    if (!known.has(group.primary.node.id)) await patiently(parts, () => makeShard(admin, name, group, parts))
  }
}

/**
 * True once the router works with every map that the manager knows, so that the first statement finds its shard; false
 * when that takes too long.
 */
export async function awaitRouter(parts: FillParts): Promise<boolean> {
  const { routerUrl, clock, signal, token, fetch } = parts
  const admin = adminOf(parts)
  const router = createRouterClient({ url: routerUrl, token, timeoutMs: requestMsMax, signal, fetch })
  const { keyspaces } = await admin.keyspaces.list({ signal })
  const untilMs = clock.monotonic() + patienceMs
  for (;;) {
    const epochs = (await router.ready()).facts['epochs']
    const known = typeof epochs === 'object' && epochs !== null ? new Map(Object.entries(epochs)) : new Map()
    if (keyspaces.every(({ name, epoch }) => Number(known.get(name) ?? -1) >= epoch)) return true
    if (clock.monotonic() > untilMs) return false
    await clock.sleep(retryMs, signal)
  }
}

function adminOf({ managerUrl, token, fetch }: FillParts): AdminClient {
  const known = token === null ? {} : { token }
  return createAdminClient({ url: managerUrl, timeoutMs: requestMsMax, fetch, ...known })
}

async function makeKeyspace(admin: AdminClient, signal: AbortSignal): Promise<void> {
  try {
    await admin.keyspaces.create({ name: keyspace }, { signal })
  } catch (error) {
    if (!isFleetError(error, 'already_exists')) throw error
  }
}

/** Ids of the nodes that are part of a shard already. */
async function shardsOf(admin: AdminClient, signal: AbortSignal): Promise<ReadonlySet<string>> {
  const { shards } = await admin.shards.list({ keyspace, vnodes: false }, { signal })
  return new Set(shards.flatMap(({ nodes }) => nodes.map(({ id }) => id)))
}

async function makeShard(
  admin: AdminClient,
  name: string,
  group: LocalGroup,
  { signal }: FillParts,
): Promise<void> {
  // Without passwords: the manager has them from the agent.
  const body = {
    name,
    keyspace,
    primary_endpoint: formatEndpoint(group.primary.node),
    replicas: group.replicas.map(({ node }) => formatEndpoint(node)),
  }
  try {
    await admin.shards.create(body, { signal })
  } catch (error) {
    // An earlier attempt whose answer was lost.
    if (
      !(isFleetError(error, 'already_exists') && (await shardsOf(admin, signal)).has(group.primary.node.id))
    )
      throw error
  }
}

/** Repeats what the manager says may succeed later: right after a start nobody leads yet. */
async function patiently({ clock, signal }: FillParts, work: () => Promise<void>): Promise<void> {
  const untilMs = clock.monotonic() + patienceMs
  for (;;) {
    try {
      await work()
      return
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof FleetError) || !error.retryable || clock.monotonic() > untilMs) throw error
    }
    await clock.sleep(retryMs, signal)
  }
}
