// The agent over HTTP: the contract of agent-api in front of an Agent, with a bearer token. On loopback, or under mutual
// TLS: its orders start and stop servers.
import { createHash, timingSafeEqual } from 'node:crypto'
import { hostname } from 'node:os'
import { FleetError } from '@fleetshard/core'
import { Type } from 'typebox'
import {
  AdmitReplicaSchema,
  AgentHealthSchema,
  CreateServerSchema,
  CredentialsSchema,
  FenceReportSchema,
  FenceServerSchema,
  FollowServerSchema,
  LivenessSchema,
  PromoteServerSchema,
  PromotionSchema,
  RejoinReportSchema,
  RejoinServerSchema,
  ServerIdSchema,
  ServerListSchema,
  ServerViewSchema,
  SetQuorumSchema,
  StartServerSchema,
  StopServerSchema,
  TermOnlySchema,
  UpstreamSchema,
  type CreateServer,
  type ServerView,
} from '../agent-api/mod.ts'
import {
  createApp,
  created,
  gone,
  ok,
  openDoor,
  route,
  type Around,
  type Route,
} from '../runtime/http/mod.ts'
import { listenError, type Logger, type TlsSource, type Tracing } from '../runtime/mod.ts'
import type { Agent } from './agent.ts'
import { isLoopback } from './listening.ts'
import type { ServerStatus } from './model.ts'

const bodyBytesMax = 64 * 1024
const receiveMsMax = 60_000
const socketsMax = 200

/** What the server is made from. */
export interface AgentHttpOptions {
  readonly agent: Agent
  readonly log: Logger
  /** Null, or left out, where there are no traces. */
  readonly tracing?: Tracing | null
  /** Version of FleetShard, for the OpenAPI document. */
  readonly version: string
  /** With a certificate of ours, callers need one of our authorities; null, or left out, for plain HTTP on loopback. */
  readonly tls?: TlsSource | null
  /** 127.0.0.1 by default; beyond loopback only with TLS. */
  readonly host?: string
  /** 0 for any free one. */
  readonly port: number
}

/** A listening server; disposing closes it and leaves the agent as it is. */
export interface AgentHttp extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** What clients send as bearer token. */
  readonly token: string
}

/** @throws FleetError `invalid_config` for an address beyond loopback without TLS, `port_taken` */
export async function startAgentHttp(options: AgentHttpOptions): Promise<AgentHttp> {
  const { agent, log, version } = options
  const host = options.host ?? '127.0.0.1'
  const tls = options.tls ?? null
  if (tls === null && !isLoopback(host)) {
    throw new FleetError('invalid_config', `the agent does not listen on ${host}: it has no TLS`, {
      hint: 'let it listen on 127.0.0.1, or give it tls.cert, tls.key and tls.ca',
    })
  }
  const token = await agent.token()
  const app = await createApp({
    log,
    tracing: options.tracing ?? null,
    tls: tls === null ? null : { source: tls, clientCertificates: 'required' },
    version,
    socketsMax,
    receiveMsMax,
    bodyLimitBytes: bodyBytesMax,
    title: 'FleetShard agent',
    description: 'Supervises the Postgres servers of one host.',
    bodyLimitSetting: 'nothing: no order is that large',
    routes: agentRoutes(agent),
    around: letIn(token),
    door: openDoor,
    onAnswer: () => undefined,
  })
  try {
    await app.listen({ host, port: options.port })
  } catch (error) {
    throw listenError(error, '--agent-port', host, options.port)
  }
  const address = app.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : options.port
  const isWildcard = host === '0.0.0.0' || host === '::'
  const name = isWildcard ? hostname() : host
  const scheme = tls === null ? 'http' : 'https'
  const url = `${scheme}://${name.includes(':') ? `[${name}]` : name}:${String(port)}`
  return { url, port, token, [Symbol.asyncDispose]: () => app.close() }
}

/** Everything but the health probe wants the token; compared by digests, in constant time. */
function letIn(token: string): Around {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  const wanted = digest(`Bearer ${token}`)
  return (called, call) => {
    const given = digest(call.request.headers.authorization ?? '')
    if (called.kind === 'probe' || timingSafeEqual(wanted, given)) return Promise.resolve(null)
    throw new FleetError('unauthenticated', 'the token of the agent is missing or wrong', {
      hint: 'send the content of agent.token in its data directory as bearer token',
    })
  }
}

const params = Type.Object({ id: ServerIdSchema })
const tag = 'servers'

/** All endpoints of an agent. */
export const agentRoutes = (agent: Agent): readonly Route[] => [
  ...readRoutes(agent),
  ...makeAndDropRoutes(agent),
  ...orderRoutes(agent),
  ...failoverRoutes(agent),
]

function readRoutes(agent: Agent): Route[] {
  return [
    route({
      method: 'GET',
      url: '/health',
      tag: 'agent',
      kind: 'probe',
      permission: 'open',
      summary: 'The agent lives',
      answers: { 200: AgentHealthSchema },
      async handle() {
        const servers = agent.list()
        const running = servers.filter(({ state }) => state === 'running').length
        return ok({ status: 'ok', servers: servers.length, running })
      },
    }),
    route({
      method: 'GET',
      url: '/v1/servers',
      tag,
      kind: 'read',
      permission: 'agent',
      summary: 'All servers',
      answers: { 200: ServerListSchema },
      handle: async () => ok({ servers: agent.list().map(viewOf) }),
    }),
    route({
      method: 'GET',
      url: '/v1/servers/:id',
      tag,
      kind: 'read',
      permission: 'agent',
      params,
      summary: 'One server',
      answers: { 200: ServerViewSchema },
      handle: async ({ params: { id } }) => ok(viewOf(agent.get(id))),
    }),
    route({
      method: 'GET',
      url: '/v1/servers/:id/liveness',
      tag,
      kind: 'read',
      permission: 'agent',
      params,
      summary: 'One server, looked at from its own host',
      answers: { 200: LivenessSchema },
      async handle({ params: { id } }) {
        const { server, ...found } = await agent.liveness(id)
        return ok({ server: viewOf(server), ...found })
      },
    }),
    route({
      method: 'GET',
      url: '/v1/servers/:id/credentials',
      tag,
      kind: 'read',
      permission: 'agent',
      params,
      summary: "How to log in as the application's role; holds a password",
      answers: { 200: CredentialsSchema },
      async handle({ params: { id } }) {
        const { socketDir, ...same } = await agent.endpoint(id)
        const body = { ...same, socket_dir: socketDir }
        return { kind: 'json', status: 200, body, headers: { 'cache-control': 'no-store' } }
      },
    }),
  ]
}

function makeAndDropRoutes(agent: Agent): Route[] {
  return [
    route({
      method: 'POST',
      url: '/v1/servers',
      tag,
      kind: 'change',
      permission: 'agent',
      summary: 'Make a primary, or a replica of a server',
      body: CreateServerSchema,
      answers: { 201: ServerViewSchema },
      async handle({ body }) {
        const server = await create(agent, body)
        return created(viewOf(server), `/v1/servers/${server.id}`)
      },
    }),
    route({
      method: 'DELETE',
      url: '/v1/servers/:id',
      tag,
      kind: 'change',
      permission: 'agent',
      params,
      summary: 'Stop and remove a server with its data',
      answers: { 204: null },
      async handle({ params: { id } }) {
        await agent.drop(id)
        return gone
      },
    }),
  ]
}

function orderRoutes(agent: Agent): Route[] {
  const order = { method: 'POST', tag, kind: 'change', permission: 'agent', params } as const
  const answers = { 200: ServerViewSchema }
  return [
    route({
      ...order,
      url: '/v1/servers/:id/start',
      body: StartServerSchema,
      answers,
      summary: 'Start and keep running',
      handle: async ({ params: { id }, body }) => ok(viewOf(await agent.start(id, body))),
    }),
    route({
      ...order,
      url: '/v1/servers/:id/stop',
      body: StopServerSchema,
      answers,
      summary: 'Stop and keep stopped',
      handle: async ({ params: { id }, body }) => ok(viewOf(await agent.stop(id, body))),
    }),
    route({
      ...order,
      url: '/v1/servers/:id/fence',
      body: FenceServerSchema,
      answers: { 200: FenceReportSchema },
      summary: 'Stop; only an explicit order starts it again',
      async handle({ params: { id }, body }) {
        const { server, control } = await agent.fence(id, body)
        return ok({ server: viewOf(server), control })
      },
    }),
    route({
      ...order,
      url: '/v1/servers/:id/follow',
      body: FollowServerSchema,
      answers,
      summary: 'Follow another server as its replica',
      handle: async ({ params: { id }, body: { of, of_agent: ofAgent, ...order } }) =>
        ok(viewOf(await agent.follow(id, of, { ...order, ofAgent }))),
    }),
    route({
      ...order,
      url: '/v1/servers/:id/promote',
      body: PromoteServerSchema,
      answers: { 200: PromotionSchema },
      summary: 'Turn a replica into a primary',
      async handle({ params: { id }, body }) {
        const { server, timeline, lsn } = await agent.promote(id, body)
        return ok({ server: viewOf(server), timeline, lsn })
      },
    }),
  ]
}

/** What only a failover asks for. */
function failoverRoutes(agent: Agent): Route[] {
  const order = { method: 'POST', tag, kind: 'change', permission: 'agent', params } as const
  const answers = { 200: ServerViewSchema }
  return [
    route({
      ...order,
      url: '/v1/servers/:id/detach',
      body: TermOnlySchema,
      answers,
      summary: "Take a replica's upstream away",
      handle: async ({ params: { id }, body }) => ok(viewOf(await agent.detach(id, body))),
    }),
    route({
      ...order,
      url: '/v1/servers/:id/quorum',
      body: SetQuorumSchema,
      answers,
      summary: 'Set which replicas must confirm commits',
      handle: async ({ params: { id }, body }) => ok(viewOf(await agent.setQuorum(id, body.sync, body))),
    }),
    route({
      ...order,
      url: '/v1/servers/:id/rejoin',
      body: RejoinServerSchema,
      answers: { 200: RejoinReportSchema },
      summary: 'Become a replica of another server, whatever it holds',
      async handle({ params: { id }, body: { of, of_agent: ofAgent, ...order } }) {
        const { server, way } = await agent.rejoin(id, of, { ...order, ofAgent })
        return ok({ server: viewOf(server), way })
      },
    }),
    route({
      ...order,
      url: '/v1/servers/:id/admit',
      body: AdmitReplicaSchema,
      answers: { 200: UpstreamSchema },
      summary: "Let another agent's server follow this one; answers passwords",
      async handle({ params: { id }, body: asked }) {
        const body = await agent.admit(id, asked)
        return { kind: 'json', status: 200, body, headers: { 'cache-control': 'no-store' } }
      },
    }),
  ]
}

async function create(agent: Agent, body: CreateServer): Promise<ServerStatus> {
  const { id, kind, of, of_agent: ofAgent, group, database, term, begin } = body
  if (kind === 'primary' && of === undefined && ofAgent === undefined && begin === undefined)
    return agent.createPrimary({ id, group, database, term })
  if (kind === 'replica' && of !== undefined && group === undefined && database === undefined) {
    return agent.createReplica({ id, of, ofAgent, term, begin })
  }
  throw new FleetError('invalid_request', 'the fields of the order do not fit its kind', {
    hint: 'a primary may have group and database; a replica has of, and nothing but that',
  })
}

/** The wire form of a status. */
function viewOf(status: ServerStatus): ServerView {
  const { socketDir, major, lastError, startFailures, ...same } = status
  return {
    ...same,
    socket_dir: socketDir,
    postgres_major: major,
    last_error: lastError,
    start_failures: startFailures,
  }
}
