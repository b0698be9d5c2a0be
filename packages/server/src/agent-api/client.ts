// Client of an agent's HTTP interface, used by the manager (embedded node groups) and by the health leader.
import { certificateFault, certificateHint, FleetError, fromProblem } from '@fleetshard/core'
import { Value } from 'typebox/value'
import type { Static, TSchema } from 'typebox'
import {
  AgentHealthSchema,
  CredentialsSchema,
  FenceReportSchema,
  LivenessSchema,
  PromotionSchema,
  RejoinReportSchema,
  ServerListSchema,
  ServerViewSchema,
  UpstreamSchema,
  type AdmitReplica,
  type AgentHealth,
  type CreateServer,
  type Credentials,
  type FenceReport,
  type FenceServer,
  type FollowServer,
  type Liveness,
  type PromoteServer,
  type Promotion,
  type RejoinReport,
  type RejoinServer,
  type ServerView,
  type SetQuorum,
  type StartServer,
  type StopServer,
  type TermOnly,
  type Upstream,
} from './contract.ts'

/** Time for orders that only read or signal. */
const quickMsMax = 10_000
/** Time for orders that copy a server or wait for one to stop; a large clone needs its own. */
const slowMsMax = 300_000

/** Where the agent is and how to be let in. */
export interface AgentClientOptions {
  /** `http://127.0.0.1:8082` */
  readonly url: string
  readonly token: string
  /** In place of the global one, for agents under TLS. */
  readonly fetch?: typeof fetch
  /** Deadline of slow orders (create, promote, stop), milliseconds. */
  readonly slowMsMax?: number
}

/**
 * Every method throws FleetError: the agent's own problem, or `agent_unavailable` when it does not answer in time.
 * An abort or a deadline leaves the order running in the agent; all orders may be repeated.
 */
export interface AgentClient {
  health(signal?: AbortSignal): Promise<AgentHealth>
  list(signal?: AbortSignal): Promise<readonly ServerView[]>
  get(id: string, signal?: AbortSignal): Promise<ServerView>
  create(order: CreateServer, signal?: AbortSignal): Promise<ServerView>
  start(id: string, order?: StartServer, signal?: AbortSignal): Promise<ServerView>
  stop(id: string, order?: StopServer, signal?: AbortSignal): Promise<ServerView>
  /** Looks at the process and asks the server itself. */
  liveness(id: string, signal?: AbortSignal): Promise<Liveness>
  /** Stops it, and keeps it from being started by anything but an order. */
  fence(id: string, order?: FenceServer, signal?: AbortSignal): Promise<FenceReport>
  /** Takes a replica's upstream away; answers when it receives nothing any more. */
  detach(id: string, order?: TermOnly, signal?: AbortSignal): Promise<ServerView>
  promote(id: string, order?: PromoteServer, signal?: AbortSignal): Promise<Promotion>
  /** Answers when the primary goes by it. */
  quorum(id: string, order: SetQuorum, signal?: AbortSignal): Promise<ServerView>
  follow(id: string, order: FollowServer, signal?: AbortSignal): Promise<ServerView>
  /** Makes a former primary a replica: as it is, rewound, or cloned anew. */
  rejoin(id: string, order: RejoinServer, signal?: AbortSignal): Promise<RejoinReport>
  /** For another agent, whose server is to follow this one: makes its slot and tells what it needs; keep it out of logs. */
  admit(id: string, order: AdmitReplica, signal?: AbortSignal): Promise<Upstream>
  drop(id: string, signal?: AbortSignal): Promise<void>
  /** The password of the application's role; keep it out of logs. */
  credentials(id: string, signal?: AbortSignal): Promise<Credentials>
}

interface Call {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly body?: object
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

async function send(options: AgentClientOptions, call: Call): Promise<unknown> {
  const deadline = AbortSignal.timeout(call.timeoutMs)
  const signal = call.signal === undefined ? deadline : AbortSignal.any([deadline, call.signal])
  try {
    const response = await (options.fetch ?? fetch)(new URL(call.path, options.url), {
      method: call.method,
      signal,
      headers: {
        authorization: `Bearer ${options.token}`,
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    })
    const text = await response.text()
    if (!response.ok) throw fromProblem(response.status, parseJson(text))
    return text === '' ? undefined : parseJson(text)
  } catch (error) {
    if (error instanceof FleetError) throw error
    if (call.signal?.aborted === true) throw call.signal.reason
    throw unavailable(options.url, error)
  }
}

function unavailable(url: string, cause: unknown): FleetError {
  const fault = certificateFault(cause)
  if (fault === null)
    return new FleetError('agent_unavailable', `the agent at ${url} does not answer`, { cause })
  const hint = certificateHint
  return new FleetError('agent_unavailable', `no TLS with the agent at ${url}: ${fault}`, { hint, cause })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function parsed<S extends TSchema>(schema: S, answer: unknown): Static<S> {
  if (Value.Check(schema, answer)) return answer
  throw new FleetError('agent_unavailable', 'the agent answered with something else than its contract says', {
    hint: 'run manager and agent in the same version',
  })
}

/** A client without state; any number of calls at once. */
export function createAgentClient(options: AgentClientOptions): AgentClient {
  const slow = options.slowMsMax ?? slowMsMax
  const get = async <S extends TSchema>(schema: S, path: string, signal?: AbortSignal): Promise<Static<S>> =>
    parsed(schema, await send(options, { method: 'GET', path, timeoutMs: quickMsMax, signal }))
  const post = async <S extends TSchema>(
    schema: S,
    path: string,
    body: object,
    signal?: AbortSignal,
  ): Promise<Static<S>> =>
    parsed(schema, await send(options, { method: 'POST', path, body, timeoutMs: slow, signal }))
  const at = (id: string): string => `/v1/servers/${encodeURIComponent(id)}`

  return {
    health: (signal) => get(AgentHealthSchema, '/health', signal),
    list: async (signal) => (await get(ServerListSchema, '/v1/servers', signal)).servers,
    get: (id, signal) => get(ServerViewSchema, at(id), signal),
    create: (order, signal) => post(ServerViewSchema, '/v1/servers', order, signal),
    start: (id, order = {}, signal) => post(ServerViewSchema, `${at(id)}/start`, order, signal),
    stop: (id, order = {}, signal) => post(ServerViewSchema, `${at(id)}/stop`, order, signal),
    liveness: (id, signal) => get(LivenessSchema, `${at(id)}/liveness`, signal),
    fence: (id, order = {}, signal) => post(FenceReportSchema, `${at(id)}/fence`, order, signal),
    detach: (id, order = {}, signal) => post(ServerViewSchema, `${at(id)}/detach`, order, signal),
    quorum: (id, order, signal) => post(ServerViewSchema, `${at(id)}/quorum`, order, signal),
    rejoin: (id, order, signal) => post(RejoinReportSchema, `${at(id)}/rejoin`, order, signal),
    admit: async (id, order, signal) => {
      // Whoever asks holds up other orders meanwhile; only the checkpoint for a rewind takes its time.
      const timeoutMs = order.rewind === true ? slow : quickMsMax
      const call = { method: 'POST', path: `${at(id)}/admit`, body: order, timeoutMs, signal } as const
      return parsed(UpstreamSchema, await send(options, call))
    },
    promote: (id, order = {}, signal) => post(PromotionSchema, `${at(id)}/promote`, order, signal),
    follow: (id, order, signal) => post(ServerViewSchema, `${at(id)}/follow`, order, signal),
    credentials: (id, signal) => get(CredentialsSchema, `${at(id)}/credentials`, signal),
    async drop(id, signal) {
      await send(options, { method: 'DELETE', path: at(id), timeoutMs: slow, signal })
    },
  }
}
