// What an agent does in a failover: takes a replica's upstream away, sets who confirms commits, looks at a server from
// its own host, and makes a former primary a replica. Each may be repeated; agent.ts calls them, one at a time a server.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { FleetError, toFleetError } from '@fleetshard/core'
import type { SyncStandbys } from '../agent-api/mod.ts'
import { makeStandby } from './clone.ts'
import { dataMajor } from './init-db.ts'
import { logSize, readLogFrom } from './log-file.ts'
import type { ManagedServer, ServerContext } from './managed-server.ts'
import type { RejoinOutcome } from './model.ts'
import { awaitStreaming, catchUpMsMax, isReplica, makeReplica } from './operations.ts'
import { asUser } from './os-user.ts'
import { isFrozen } from './proc.ts'
import { probationName, renderSource, renderSync } from './settings.ts'
import { checkpoint, streamingState, withSession, type Login } from './sql.ts'
import { reachUpstream, type Upstream, type UpstreamOrder } from './upstream.ts'
import { pollUntil, settlesWithin } from './wait.ts'

const run = promisify(execFile)

/** How long a receiver may take to end after its upstream was taken away. */
const detachMsMax = 5_000
/** How long a primary may take to go by a new setting. */
const quorumMsMax = 5_000
/** How long a session of the agent's own may take to be answered before the server counts as silent. */
const answerMsMax = 1_000
/** How Postgres says that a server's history has parted from that of its upstream, or that log is gone. */
const apartPattern =
  /forked off |is not a child of this server's history|is behind recovery timeline|has already been removed/
/** Replicas speak every second (`wal_receiver_status_interval`); those of an agent go by the clock of its host. */
const replySecondsMax = 3
const rewindMsMax = 3_600_000
const pollEveryMs = 10
const followPollMs = 20

/**
 * Takes the replica's upstream away, also over restarts, and waits until nothing is received any more.
 * @throws FleetError `postgres_failed` when a receiver does not end: then it may still confirm commits
 */
export async function detach(
  context: ServerContext,
  server: ManagedServer,
  signal: AbortSignal,
): Promise<void> {
  if (server.record.kind !== 'replica') throw new FleetError('conflict', `${server.id} follows nobody`)
  await server.update({ detached: true })
  await server.applyConfig()
  if (!server.isUp) return
  const gone = await withSession(await server.superuser(), async (client) => {
    const ask = async (): Promise<true | null> => {
      // By the process, which may outlive what the view shows of it.
      const found = await client.query(
        `SELECT FROM pg_stat_activity WHERE backend_type = 'walreceiver'
         UNION ALL SELECT FROM pg_settings WHERE name = 'primary_conninfo' AND setting <> ''`,
      )
      return found.rowCount === 0 ? true : null
    }
    return pollUntil(ask, { clock: context.clock, timeoutMs: detachMsMax, signal, everyMs: pollEveryMs })
  })
  if (gone === true) return
  throw new FleetError('postgres_failed', `${server.id} does not end its receiver`, {
    hint: `look at the process of its walreceiver; see ${server.layout.logFile}`,
  })
}

/**
 * Sets which replicas must confirm commits, and waits until the primary goes by it. Never clears a setting that
 * sessions wait for while they wait for it in vain: that is for the caller to know.
 */
export async function setQuorum(
  context: ServerContext,
  server: ManagedServer,
  sync: SyncStandbys | null,
  signal: AbortSignal,
): Promise<void> {
  if (server.record.kind !== 'primary') throw new FleetError('conflict', `${server.id} is no primary`)
  await server.update({ sync })
  await server.applyConfig()
  if (!server.isUp) return
  const wanted = renderSync(sync)
  const login = await server.superuser()
  const ask = async (): Promise<true | null> => {
    // In a session of its own each time: it begins with what the postmaster goes by.
    const found = await withSession(login, (client) =>
      client.query<{ names: string }>("SELECT current_setting('synchronous_standby_names') AS names"),
    )
    return found.rows[0]?.names === wanted ? true : null
  }
  const bounds = { clock: context.clock, timeoutMs: quorumMsMax, signal, everyMs: pollEveryMs }
  if ((await pollUntil(ask, bounds)) === true) return
  throw new FleetError('postgres_failed', `${server.id} does not take up synchronous_standby_names`)
}

/** The process, and whether the server answers. Never throws for a server that does not. */
export async function look(
  context: ServerContext,
  server: ManagedServer,
): Promise<{ readonly process: 'running' | 'frozen' | 'none'; readonly answers: boolean }> {
  const { process } = server
  if (process === null) return { process: 'none', answers: false }
  if (await isFrozen(process.pid)) return { process: 'frozen', answers: false }
  const login = await server.superuser()
  let answers = false
  const asking = withSession(login, (client) => client.query('SELECT')).then(
    () => (answers = true),
    () => undefined,
  )
  await settlesWithin(context.clock, answerMsMax, asking)
  return { process: 'running', answers }
}

/** False also for a server that does not answer: then it hears nobody. */
export async function hearsReplica(context: ServerContext, server: ManagedServer): Promise<boolean> {
  const login = await server.superuser()
  let hears = false
  const asking = withSession(login, (client) =>
    client.query(
      `SELECT FROM pg_stat_replication WHERE state = 'streaming'
          AND reply_time > clock_timestamp() - make_interval(secs => $1)`,
      [replySecondsMax],
    ),
  ).then(
    ({ rowCount }) => (hears = (rowCount ?? 0) > 0),
    () => undefined,
  )
  await settlesWithin(context.clock, answerMsMax, asking)
  return hears
}

/**
 * Ends the sessions of replicas that say nothing any more: a stop in order would wait for them as long as for those that
 * are there. Best effort.
 */
export async function endSilentSenders(context: ServerContext, server: ManagedServer): Promise<void> {
  if (!server.isUp || server.record.kind !== 'primary') return
  const login = await server.superuser()
  const ending = withSession(login, (client) =>
    client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_replication
        WHERE reply_time < clock_timestamp() - make_interval(secs => $1)`,
      [replySecondsMax],
    ),
  ).catch((error: unknown) => {
    context.log.info({ server: server.id, reason: toFleetError(error).message }, 'senders are not looked at')
  })
  await settlesWithin(context.clock, answerMsMax, ending)
}

/**
 * Makes the server a replica of another one, whatever it was and holds: as it is where its history allows it, else
 * rewound where there is pg_rewind, else as a new clone. Resolves when it streams. An interrupted one is repeated.
 */
export async function rejoin(
  context: ServerContext,
  server: ManagedServer,
  order: UpstreamOrder,
  signal: AbortSignal,
): Promise<RejoinOutcome['way']> {
  const upstream = await reachUpstream(context, server, order, { signal })
  const isSame = follows(server, order) && server.isUp && (await isReplica(server))
  if (!isSame) await server.takeDown(server.record.kind === 'primary' ? 'immediate' : 'fast')
  await server.clearLeftover()
  await server.update({
    kind: 'replica',
    of: order.of,
    upstream: upstream.place,
    group: upstream.group,
    detached: false,
    onProbation: true,
    sync: null,
    desired: 'running',
  })
  if ((await dataMajor(server.layout)) !== null) {
    if (await comesBack(context, { server, upstream, signal })) return 'followed'
    if (await rewind(context, { server, upstream, order, signal })) return 'rewound'
  }
  // From here on the old data is given up: a crash leaves a server that is incomplete, and is cloned again.
  await server.update({ phase: 'creating', onProbation: false })
  await rm(server.layout.pgData, { recursive: true, force: true })
  await makeReplica(context, server, order, signal)
  return 'cloned'
}

const follows = ({ record }: ManagedServer, { of, ofAgent }: UpstreamOrder): boolean =>
  record.kind === 'replica' && record.of === of && record.upstream?.agent === ofAgent

interface Pair {
  readonly server: ManagedServer
  readonly upstream: Upstream
  readonly signal: AbortSignal
}

/** Starts it as a replica. False, and stopped, when it does not stream: Postgres itself holds histories apart. */
async function comesBack(context: ServerContext, { server, upstream, signal }: Pair): Promise<boolean> {
  const { clock, log } = context
  try {
    const from = await logSize(server.layout.logFile)
    if (server.isUp) await server.applyConfig()
    else {
      await makeStandby(server.layout, context.user)
      await server.bringUp(signal)
    }
    const streams = await withSession(upstream.login, async (client) => {
      const ask = async (): Promise<boolean | null> => {
        const said = await readLogFrom(server.layout.logFile, from)
        if (apartPattern.test(said) || !server.isUp) return false
        if ((await streamingState(client, probationName(server.id))) !== 'streaming') return null
        return (await isOnTimelineOf(server, client)) ? true : null
      }
      return pollUntil(ask, { clock, timeoutMs: catchUpMsMax, signal, everyMs: followPollMs })
    })
    if (streams === true) {
      await server.update({ onProbation: false })
      await server.applyConfig()
      await awaitStreaming(context, server, signal)
      await dropOldSlots(server)
      return true
    }
  } catch (error) {
    signal.throwIfAborted()
    log.info({ server: server.id, reason: toFleetError(error).message }, 'server does not follow as it is')
  }
  await server.takeDown('fast') // in order: pg_rewind wants it so
  return false
}

/**
 * One that has parted streams the end of the old timeline for a moment before it is refused the new one. Were it a
 * member of a quorum then, it would confirm commits that it does not have.
 */
async function isOnTimelineOf(
  server: ManagedServer,
  upstream: Parameters<typeof streamingState>[0],
): Promise<boolean> {
  const written = await upstream.query<{ file: string }>(
    'SELECT pg_walfile_name(pg_current_wal_lsn()) AS file',
  )
  const received = await withSession(await server.superuser(), (client) =>
    client.query<{ tli: number }>(
      "SELECT received_tli AS tli FROM pg_stat_wal_receiver WHERE status = 'streaming'",
    ),
  )
  return received.rows[0]?.tli === Number.parseInt(written.rows[0]?.file.slice(0, 8) ?? '0', 16)
}

/** A replica's own slots, left from when it led, would keep its log for ever. */
async function dropOldSlots(server: ManagedServer): Promise<void> {
  await withSession(await server.superuser(), (client) =>
    client.query('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active'),
  )
}

/** By pg_rewind, where the build has one that knows a configuration outside of the data folder. */
async function rewind(
  context: ServerContext,
  pair: Pair & { readonly order: UpstreamOrder },
): Promise<boolean> {
  const { binaries, user } = context
  const { server, order, signal } = pair
  const program = join(dirname(binaries.postgres), 'pg_rewind')
  if (binaries.major < 15 || !existsSync(program)) return false
  try {
    const { host, port, user: role, password } = await sourceOf(context, server, { order, signal })
    const certificates = order.ofAgent === undefined ? null : server.layout
    const source = renderSource({ host, port, user: role, certificates })
    const args = ['-D', server.layout.pgData, '--source-server', source]
    // Where the server was not shut down in order, pg_rewind recovers it first, by a mode that knows no standby.
    await rm(join(server.layout.pgData, 'standby.signal'), { force: true })
    await run(program, [...args, '--config-file', server.layout.configFile], {
      cwd: '/',
      env: { PGPASSWORD: password },
      timeout: rewindMsMax,
      signal,
      ...asUser(user),
    })
  } catch (error) {
    signal.throwIfAborted()
    context.log.warn(
      { server: server.id, err: error },
      'pg_rewind did not succeed; the server is cloned anew',
    )
    return false
  }
  return comesBack(context, pair)
}

/** What pg_rewind logs in as: the superuser over the socket; on another host the role that was let to. */
async function sourceOf(
  context: ServerContext,
  server: ManagedServer,
  { order, signal }: { readonly order: UpstreamOrder; readonly signal: AbortSignal },
): Promise<Login> {
  const upstream = order.ofAgent === undefined ? context.servers.get(order.of) : undefined
  if (upstream === undefined)
    return (await reachUpstream(context, server, order, { signal, rewind: true })).login
  const login = await upstream.superuser()
  await checkpoint(login)
  return login
}
