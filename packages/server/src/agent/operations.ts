// The orders that change what a server is: making a primary, cloning and following, promoting, fencing, dropping.
// Each writes its intent before its effect and may be repeated; the agent calls them.
import { rm } from 'node:fs/promises'
import { FleetError, toFleetError } from '@fleetshard/core'
import type { SyncStandbys } from '../agent-api/mod.ts'
import { cloneServer, makeStandby } from './clone.ts'
import { exists } from './files.ts'
import { dataMajor, initDatabase } from './init-db.ts'
import { slotName } from './layout.ts'
import type { ManagedServer, ServerContext } from './managed-server.ts'
import type { PromotionReport } from './model.ts'
import { removeSecrets } from './secrets.ts'
import { ensureRoleAndDatabase, streamingState, withSession } from './sql.ts'
import { loginOfUpstream, reachUpstream, type UpstreamOrder } from './upstream.ts'
import { pollUntil } from './wait.ts'

/** A replica that is not seen by its upstream, or only just connected, for this long does not follow. */
export const followMsMax = 30_000
/** Longest catching up that an order waits for. */
export const catchUpMsMax = 3_600_000
const promoteMsMax = 60_000

/** Makes the data, starts the server, makes role and database. Goes on where an earlier attempt ended. */
export async function makePrimary(
  context: ServerContext,
  server: ManagedServer,
  signal: AbortSignal,
): Promise<void> {
  const { binaries, user, walSegmentMegabytes, durability } = context
  await server.makeFolders()
  const secrets = await server.secrets()
  const { layout } = server
  const superuserPassword = secrets.superuser
  await initDatabase({ binaries, layout, user, superuserPassword, walSegmentMegabytes, durability, signal })
  await server.bringUp(signal)
  await ensureRoleAndDatabase(await server.superuser(), server.record.database, secrets.application)
  await server.update({ phase: 'ready' })
}

/** Clones the upstream, starts the replica, and waits until it streams. Goes on where an earlier attempt ended. */
export async function makeReplica(
  context: ServerContext,
  server: ManagedServer,
  order: UpstreamOrder,
  signal: AbortSignal,
): Promise<void> {
  const upstream = await reachUpstream(context, server, order, { signal })
  await server.update({ upstream: upstream.place })
  await server.makeFolders()
  if ((await dataMajor(server.layout)) === null) {
    const { binaries, user, durability } = context
    await cloneServer({
      upstream: upstream.login,
      slot: slotName(server.id),
      layout: server.layout,
      user,
      binaries,
      durability,
      signal,
    })
  }
  await server.bringUp(signal)
  await awaitStreaming(context, server, signal)
  await server.update({ phase: 'ready' })
}

/**
 * Resolves when the upstream sees the replica stream. A replica whose history has parted from the upstream's says
 * that it is ready and never does.
 * @throws FleetError `postgres_failed`
 */
export async function awaitStreaming(
  context: ServerContext,
  server: ManagedServer,
  signal?: AbortSignal,
): Promise<void> {
  const { clock } = context
  const login = await loginOfUpstream(context, server)
  const verdict = await withSession(login, async (client) => {
    let connectedMs = clock.monotonic()
    const ask = async (): Promise<'streaming' | 'apart' | null> => {
      const state = await streamingState(client, server.id)
      if (state === 'streaming') return state
      if (state === 'catchup') connectedMs = clock.monotonic()
      return clock.monotonic() - connectedMs > followMsMax || !server.isUp ? 'apart' : null
    }
    return pollUntil(ask, { clock, timeoutMs: catchUpMsMax, signal, everyMs: 20 })
  })
  if (verdict === 'streaming') return
  throw new FleetError('postgres_failed', `${server.id} does not stream from ${String(server.record.of)}`, {
    hint: `see ${server.layout.logFile}; drop the replica and create it again`,
  })
}

/**
 * Turns the replica into a primary; nothing when it is one. Servers that follow others are left as they are. `sync`
 * names those that must confirm its commits, from the first on.
 */
export async function promote(
  context: ServerContext,
  server: ManagedServer,
  order: { readonly sync?: SyncStandbys | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<PromotionReport> {
  const { signal } = order
  if (!server.isUp) throw new FleetError('conflict', `${server.id} cannot be promoted: it does not run`)
  if (server.record.kind === 'replica') {
    // Before the first commit: one that waited for nobody would be acknowledged too early.
    await server.update({ sync: order.sync ?? null, promoting: true })
    await server.applyConfig()
  }
  const { clock } = context
  const position = await withSession(await server.superuser(), async (client) => {
    const inRecovery = async (): Promise<boolean> =>
      (await client.query<{ r: boolean }>('SELECT pg_is_in_recovery() AS r')).rows[0]?.r === true
    if (await inRecovery()) {
      await client.query('SELECT pg_promote(false)')
      const done = await pollUntil(async () => ((await inRecovery()) ? null : true), {
        clock,
        timeoutMs: promoteMsMax,
        signal,
      })
      if (done === null) throw new FleetError('postgres_failed', `${server.id} does not end its recovery`)
    }
    const found = await client.query<{ lsn: string; file: string }>(
      'SELECT pg_current_wal_lsn()::text AS lsn, pg_walfile_name(pg_current_wal_lsn()) AS file',
    )
    return found.rows[0]
  })
  await server.update({ kind: 'primary', of: null, upstream: null, detached: false, promoting: false })
  await server.applyConfig()
  return {
    server: server.status(),
    timeline: Number.parseInt(position?.file.slice(0, 8) ?? '0', 16), // a WAL file's name begins with it
    lsn: position?.lsn ?? '0/0',
  }
}

/**
 * Makes the server follow another one: a replica is pointed at it, a former primary is stopped cleanly and comes back
 * as a replica. Resolves when it streams, or without `wait` when it was told to.
 * @throws FleetError `postgres_failed` when it has writes that the other has not; it then needs a new clone
 */
export async function follow(
  context: ServerContext,
  server: ManagedServer,
  order: UpstreamOrder,
  { wait = true, signal }: { readonly wait?: boolean | undefined; readonly signal: AbortSignal },
): Promise<void> {
  const upstream = await reachUpstream(context, server, order, { signal })
  const wasPrimary = server.record.kind === 'primary' || (server.isUp && !(await isReplica(server)))
  if (wasPrimary) {
    await server.takeDown('fast')
    await makeStandby(server.layout, context.user)
  }
  await server.update({
    kind: 'replica',
    of: order.of,
    upstream: upstream.place,
    group: upstream.group,
    detached: false,
    sync: null,
    desired: 'running',
  })
  await server.applyConfig()
  await server.bringUp(signal)
  if (wait) await awaitStreaming(context, server, signal)
}

/** False for one that was promoted by somebody else. */
export async function isReplica(server: ManagedServer): Promise<boolean> {
  const found = await withSession(await server.superuser(), (client) =>
    client.query<{ replica: boolean }>('SELECT pg_is_in_recovery() AS replica'),
  )
  return found.rows[0]?.replica === true
}

/** Stops the server at once and removes its files, its slot, and its record. Goes on after a crash. */
export async function drop(context: ServerContext, server: ManagedServer): Promise<void> {
  const followers = server.followers()
  if (followers.length > 0) {
    throw new FleetError(
      'conflict',
      `${server.id} is followed by ${followers.map(({ id }) => id).join(', ')}`,
      {
        hint: 'drop them first, or let them follow another server',
      },
    )
  }
  await server.update({ desired: 'stopped', phase: 'dropping' })
  await server.takeDown('immediate')
  await server.clearLeftover()
  await dropSlot(context, server)
  if (await exists(server.layout.socketDir)) await rm(server.layout.socketDir, { recursive: true })
  await rm(server.layout.root, { recursive: true, force: true })
  const { group, port } = server.record
  context.ports.release(port)
  await context.state.remove(server.id)
  if (!context.state.records().some((record) => record.group === group)) {
    await removeSecrets(context.layout.secretsDir, group)
  }
}

/** A slot without a replica would keep WAL up to its bound. An upstream that is down keeps it, and says so. */
async function dropSlot(context: ServerContext, server: ManagedServer): Promise<void> {
  const { of, upstream = null } = server.record
  if (upstream === null) {
    if (context.servers.get(of ?? '')?.isUp === true) await dropSlotThere(context, server)
    return
  }
  await dropSlotThere(context, server).catch((error: unknown) => {
    // Of another agent, whose host may be gone for good: nothing else depends on it.
    context.log.warn({ server: server.id, reason: toFleetError(error).message }, 'its slot is left')
  })
}

async function dropSlotThere(context: ServerContext, server: ManagedServer): Promise<void> {
  const slot = slotName(server.id)
  await withSession(await loginOfUpstream(context, server), async (client) => {
    const gone = async (): Promise<true | null> => {
      const found = await client.query('SELECT active FROM pg_replication_slots WHERE slot_name = $1', [slot])
      const active = (found.rows[0] as { active: boolean } | undefined)?.active
      if (active === true) return null // its walsender has not noticed yet
      if (active === false) await client.query('SELECT pg_drop_replication_slot($1)', [slot])
      return true
    }
    await pollUntil(gone, { clock: context.clock, timeoutMs: followMsMax })
  })
}
