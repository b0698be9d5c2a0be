// The server that a replica follows: one of this agent, over its socket, or one of another agent on another host, under
// TLS. The other agent is asked to admit the replica: it makes the slot, and tells the passwords that a copy has, too.
import type { SecureContext } from 'node:tls'
import { FleetError } from '@fleetshard/core'
import type { AgentClient, Upstream as Admission } from '../agent-api/mod.ts'
import { slotName } from './layout.ts'
import type { ManagedServer, ServerContext } from './managed-server.ts'
import { applicationRole, type UpstreamPlace } from './model.ts'
import { adoptSecrets, loadOrMakeSecrets } from './secrets.ts'
import { allowRewind, checkpoint, withSession, type Login } from './sql.ts'

/** Whom to follow, as orders say it. */
export interface UpstreamOrder {
  readonly of: string
  /** The agent that runs it; this one by default. */
  readonly ofAgent?: string | undefined
}

/** An upstream that lets the replica stream. */
export interface Upstream {
  readonly group: string
  /** As the application's role, which also replicates. */
  readonly login: Login
  /** Null for a server of this agent. */
  readonly place: UpstreamPlace | null
}

/** How a server of another agent is asked about, and how it is reached. */
interface Beyond {
  readonly peer: AgentClient
  readonly agent: string
}

/** Description of a server that a replica is to be made of. @throws FleetError `not_found`, `conflict` */
export async function describeUpstream(
  context: ServerContext,
  { of, ofAgent }: UpstreamOrder & { readonly ofAgent: string },
  signal: AbortSignal,
): Promise<{ readonly group: string; readonly database: string }> {
  const { peer } = await beyond(context, ofAgent, signal)
  const { group, database, tls, postgres_major: major } = await peer.get(of, signal)
  if (tls !== 'verify-full') throw onlyLocal(of)
  const { binaries } = context
  if (major === binaries.major) return { group, database }
  throw new FleetError(
    'postgres_version',
    `${of} runs PostgreSQL ${String(major)}, but the programs of this agent are ${binaries.version}`,
    { hint: `give the agent the programs of PostgreSQL ${String(major)} with --pg-bin` },
  )
}

/**
 * Makes the slot through which the server will stream, and says how the upstream is reached. Repeatable.
 * @param how.rewind it is to be the source of pg_rewind as well
 * @throws FleetError `conflict` for one that does not run, or that others do not reach
 */
export async function reachUpstream(
  context: ServerContext,
  server: ManagedServer,
  order: UpstreamOrder,
  how: { readonly signal: AbortSignal; readonly rewind?: boolean },
): Promise<Upstream> {
  const { of, ofAgent } = order
  if (ofAgent !== undefined) return reachBeyond(context, server, { of, ofAgent }, how)
  const upstream = context.servers.get(of)
  if (upstream?.isUp !== true || upstream === server) throw notRunning(server.id, of)
  await ensureSlot(upstream, server.id)
  return { group: upstream.record.group, login: await upstream.replicator(), place: null }
}

async function reachBeyond(
  context: ServerContext,
  server: ManagedServer,
  { of, ofAgent }: { readonly of: string; readonly ofAgent: string },
  { signal, rewind = false }: { readonly signal: AbortSignal; readonly rewind?: boolean },
): Promise<Upstream> {
  const { peer, agent } = await beyond(context, ofAgent, signal)
  const admission = await peer.admit(of, { replica: server.id, ...(rewind ? { rewind } : {}) }, signal)
  await takeSecrets(context, server, admission)
  const { host, port, group } = admission
  const place = { agent, host, port }
  return { group, place, login: loginAt(context, place, admission.passwords.application) }
}

/** @throws FleetError `conflict` where this agent can have no servers that follow others elsewhere */
async function beyond(context: ServerContext, agent: string, signal: AbortSignal): Promise<Beyond> {
  const { peers, listening } = context
  if (peers === null) throw new FleetError('conflict', `this agent knows no other agents, ${agent} neither`)
  if (listening.tls === null) throw withoutTls()
  return { peer: await peers(agent, signal), agent }
}

/** A copy is logged in to by the passwords of its original. */
async function takeSecrets(
  context: ServerContext,
  server: ManagedServer,
  admission: Admission,
): Promise<void> {
  const { group, passwords } = admission
  const { secretsDir } = context.layout
  const others = context.state.records().filter((one) => one.group === group && one.id !== server.id)
  if (others.some(({ phase }) => phase === 'ready')) {
    const own = await loadOrMakeSecrets(secretsDir, group)
    if (own.application === passwords.application && own.superuser === passwords.superuser) return
    throw new FleetError('conflict', `the servers of group ${group} here are not those of the other agent`, {
      retryable: false,
      hint: 'drop them, or give the shard another name',
    })
  }
  await adoptSecrets(secretsDir, group, passwords)
}

/**
 * How the upstream of a replica is logged in to, by what was told when it was last reached.
 * @throws FleetError `conflict` for one of this agent that does not run
 */
export async function loginOfUpstream(context: ServerContext, server: ManagedServer): Promise<Login> {
  const { of, upstream: place } = server.record
  if (place !== null && place !== undefined) {
    return loginAt(context, place, (await server.secrets()).application)
  }
  const upstream = of === null ? undefined : context.servers.get(of)
  if (upstream?.isUp === true) return upstream.replicator()
  throw notRunning(server.id, String(of))
}

function loginAt({ listening }: ServerContext, { host, port }: UpstreamPlace, password: string): Login {
  const { tls } = listening
  if (tls === null) throw withoutTls()
  const secureContext = (): SecureContext => tls.source.context()
  return { host, port, user: applicationRole, password, database: 'postgres', secureContext }
}

/** What the replica's agent is told by the agent of its upstream. @throws FleetError `conflict` */
export async function admit(
  context: ServerContext,
  upstream: ManagedServer,
  { replica, rewind }: { readonly replica: string; readonly rewind: boolean },
): Promise<Admission> {
  if (!upstream.isUp) throw notRunning(replica, upstream.id)
  if (context.listening.tls === null) throw onlyLocal(upstream.id)
  await ensureSlot(upstream, replica)
  if (rewind) {
    const login = await upstream.superuser()
    await allowRewind(login)
    await checkpoint(login)
  }
  const { host, port, group } = upstream.status()
  const { application, superuser } = await upstream.secrets()
  return { host, port, group, passwords: { application, superuser } }
}

/** Makes the slot through which `id` streams from the upstream; nothing when it is there. */
async function ensureSlot(upstream: ManagedServer, id: string): Promise<void> {
  await withSession(await upstream.superuser(), async (client) => {
    await client.query(
      `SELECT pg_create_physical_replication_slot($1, true)
        WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`,
      [slotName(id)],
    )
  })
}

const notRunning = (id: string, of: string): FleetError =>
  new FleetError('conflict', `${id} cannot follow ${of}, which does not run`, {
    hint: 'start the primary first',
  })

const withoutTls = (): FleetError =>
  new FleetError('conflict', 'servers of this agent do not follow servers elsewhere: they have no TLS', {
    retryable: false,
    hint: 'let them listen where others reach them: agent.postgres-bind-host, with tls.cert, tls.key and tls.ca',
  })

const onlyLocal = (of: string): FleetError =>
  new FleetError('conflict', `${of} listens on its own machine only: no server elsewhere can follow it`, {
    retryable: false,
    hint: 'let the servers of its agent listen where others reach them: agent.postgres-bind-host, with TLS',
  })
