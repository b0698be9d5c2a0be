// The HTTP contract of the agent as JSON Schema: what goes over the wire between a manager and the agent of a
// database host. One source for validation (agent/http.ts), types and the client.
import { Type, type Static } from 'typebox'

const strict = { additionalProperties: false } as const

/** Id of a server on its host: letters, digits, `-` and `_`, up to 63 characters, as node ids are. */
export const ServerIdSchema = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$' })

/** Leadership version of the shard that an order is given in; an order of an older one is refused. */
const TermSchema = Type.Integer({ minimum: 0 })

/** What the server should be doing. `fenced`: stopped, and not started again until an order says so. */
export const DesiredSchema = Type.Union([
  Type.Literal('running'),
  Type.Literal('stopped'),
  Type.Literal('fenced'),
])

/**
 * What the server is doing. `incomplete`: its creation was interrupted; the same create order goes on with it.
 * `crashed`: it ended by itself and is started again after a pause.
 */
export const ServerStateSchema = Type.Union([
  Type.Literal('incomplete'),
  Type.Literal('starting'),
  Type.Literal('running'),
  Type.Literal('stopping'),
  Type.Literal('stopped'),
  Type.Literal('crashed'),
])

/** A commit waits for `required` of these servers: `ANY required (members)`. */
export const SyncStandbysSchema = Type.Object(
  {
    members: Type.Array(ServerIdSchema, { minItems: 1, maxItems: 32 }),
    required: Type.Integer({ minimum: 1, maximum: 32 }),
  },
  strict,
)

/** How a server is connected to over TCP: plain on its own machine, else under TLS, verified by name and authority. */
const TlsModeSchema = Type.Union([Type.Literal('disable'), Type.Literal('verify-full')])

/** The agent that runs the other server of an order, where it is not the one that gets the order. */
const OtherAgentSchema = Type.Optional(Type.String({ minLength: 1, maxLength: 63 }))

/** One server as the agent sees it. Never with a password. */
export const ServerViewSchema = Type.Object({
  id: ServerIdSchema,
  kind: Type.Union([Type.Literal('primary'), Type.Literal('replica')]),
  /** The server that it follows; null for a primary. */
  of: Type.Union([ServerIdSchema, Type.Null()]),
  /** Servers of one group are copies of one another: same data, same roles, same passwords. */
  group: ServerIdSchema,
  desired: DesiredSchema,
  state: ServerStateSchema,
  pid: Type.Union([Type.Integer(), Type.Null()]),
  /** By which others reach it. */
  host: Type.String(),
  port: Type.Integer(),
  /** Absent in answers of agents before this was told: plain. */
  tls: Type.Optional(TlsModeSchema),
  /** Folder of the server's Unix socket, mode 0700. */
  socket_dir: Type.String(),
  database: Type.String(),
  user: Type.String(),
  /** Major version of Postgres, pinned by the files of the server. */
  postgres_major: Type.Integer(),
  term: TermSchema,
  /** True for a replica whose upstream was taken away: it receives nothing until it is told to follow again. */
  detached: Type.Boolean(),
  /** Replicas that must confirm a commit; null where none has to. */
  sync: Type.Union([SyncStandbysSchema, Type.Null()]),
  /** How often it was started again after ending by itself, since the agent runs. */
  restarts: Type.Integer(),
  /** How often in a row it could not be started. */
  start_failures: Type.Integer(),
  /** The last words of the last failure; null when there was none. */
  last_error: Type.Union([Type.String(), Type.Null()]),
})

/** Body of `POST /v1/servers`. Repeating it is safe: an existing server of the same description is returned. */
export const CreateServerSchema = Type.Object(
  {
    id: ServerIdSchema,
    kind: Type.Union([Type.Literal('primary'), Type.Literal('replica')]),
    /** For a primary: name of the group that its replicas join; its id by default. */
    group: Type.Optional(ServerIdSchema),
    /** For a replica: the server to clone and follow. */
    of: Type.Optional(ServerIdSchema),
    of_agent: OtherAgentSchema,
    /** For a replica: answer when it has its place; `…/rejoin`, or the same order without it, makes its data. */
    begin: Type.Optional(Type.Boolean()),
    /** For a primary: the database to make, owned by the role `fleetshard`; `app` by default. */
    database: Type.Optional(Type.String({ pattern: '^[a-z_][a-z0-9_]{0,62}$' })),
    term: Type.Optional(TermSchema),
  },
  strict,
)

/** Body of `…/start`. A fenced server starts only with `unfence: true`. */
export const StartServerSchema = Type.Object(
  { unfence: Type.Optional(Type.Boolean()), term: Type.Optional(TermSchema) },
  strict,
)

/** `smart` waits for clients, `fast` ends their sessions, `immediate` recovers at the next start. */
export const StopModeSchema = Type.Union([
  Type.Literal('smart'),
  Type.Literal('fast'),
  Type.Literal('immediate'),
])

/** Body of `…/stop`; `fast` by default. */
export const StopServerSchema = Type.Object(
  { mode: Type.Optional(StopModeSchema), term: Type.Optional(TermSchema) },
  strict,
)

/** Body of `…/fence`: `immediate` by default; `fast` hands everything to the replicas first. */
export const FenceServerSchema = Type.Object(
  {
    mode: Type.Optional(Type.Union([Type.Literal('fast'), Type.Literal('immediate')])),
    term: Type.Optional(TermSchema),
  },
  strict,
)

/** Body of `…/detach`. */
export const TermOnlySchema = Type.Object({ term: Type.Optional(TermSchema) }, strict)

/** Body of `…/promote`. `sync` holds from the first commit of the new primary on; without it none waits. */
export const PromoteServerSchema = Type.Object(
  { term: Type.Optional(TermSchema), sync: Type.Optional(SyncStandbysSchema) },
  strict,
)

/** Body of `…/quorum`: which replicas must confirm commits of this primary from now on; null for none. */
export const SetQuorumSchema = Type.Object(
  { sync: Type.Union([SyncStandbysSchema, Type.Null()]), term: Type.Optional(TermSchema) },
  strict,
)

/**
 * Body of `…/follow`: the server (a replica) follows another one from now on. With `wait: false` the answer comes when
 * it was told to, not when it streams.
 */
export const FollowServerSchema = Type.Object(
  {
    of: ServerIdSchema,
    of_agent: OtherAgentSchema,
    wait: Type.Optional(Type.Boolean()),
    term: Type.Optional(TermSchema),
  },
  strict,
)

/** Body of `…/rejoin`: the server, whatever it holds, becomes a replica of another one. */
export const RejoinServerSchema = Type.Object(
  { of: ServerIdSchema, of_agent: OtherAgentSchema, term: Type.Optional(TermSchema) },
  strict,
)

/** Body of `…/admit`: another agent's server is to stream from this one. With `rewind` also be rewound by it. */
export const AdmitReplicaSchema = Type.Object(
  { replica: ServerIdSchema, rewind: Type.Optional(Type.Boolean()) },
  strict,
)

/** Answer of `…/admit`: what the replica's agent must know. Holds passwords: a copy has those of its original. */
export const UpstreamSchema = Type.Object({
  host: Type.String(),
  port: Type.Integer(),
  group: ServerIdSchema,
  passwords: Type.Object({ application: Type.String(), superuser: Type.String() }),
})

/** Answer of `…/promote`. */
export const PromotionSchema = Type.Object({
  server: ServerViewSchema,
  timeline: Type.Integer(),
  /** First position of the new timeline that the server wrote up to, text form of pg_lsn. */
  lsn: Type.String(),
})

/** How a server that does not run has ended, as its control file tells. */
export const ControlSchema = Type.Object({
  /** True after a shutdown in order: nothing follows the checkpoint. */
  clean: Type.Boolean(),
  /** Where the last checkpoint begins, text form of pg_lsn. */
  checkpoint_lsn: Type.String(),
  timeline: Type.Integer(),
})

/** Answer of `…/fence`: the server does not run and will not, until an order says so. */
export const FenceReportSchema = Type.Object({
  server: ServerViewSchema,
  /** Null where the control file cannot be read. */
  control: Type.Union([ControlSchema, Type.Null()]),
})

/** Answer of `…/rejoin`: by which way. */
export const RejoinReportSchema = Type.Object({
  server: ServerViewSchema,
  way: Type.Union([Type.Literal('followed'), Type.Literal('rewound'), Type.Literal('cloned')]),
})

/** Answer of `…/liveness`: what the agent finds when it looks at the process and asks the server itself. */
export const LivenessSchema = Type.Object({
  server: ServerViewSchema,
  /** `frozen`: stopped by a signal. */
  process: Type.Union([Type.Literal('running'), Type.Literal('frozen'), Type.Literal('none')]),
  /** It answers a session of the agent's own. */
  answers: Type.Boolean(),
})

/** Answer of `…/credentials`: how to log in as the role of the application. Only for who has the token. */
export const CredentialsSchema = Type.Object({
  host: Type.String(),
  port: Type.Integer(),
  /** As of the server. */
  tls: Type.Optional(TlsModeSchema),
  socket_dir: Type.String(),
  database: Type.String(),
  user: Type.String(),
  password: Type.String(),
})

/** Answer of `GET /v1/servers`. */
export const ServerListSchema = Type.Object({ servers: Type.Array(ServerViewSchema) })

/** Answer of `GET /health`: the agent lives; how many servers it has and how many of them run. */
export const AgentHealthSchema = Type.Object({
  status: Type.Literal('ok'),
  servers: Type.Integer(),
  running: Type.Integer(),
})

export type Desired = Static<typeof DesiredSchema>
export type ServerState = Static<typeof ServerStateSchema>
export type ServerView = Static<typeof ServerViewSchema>
export type CreateServer = Static<typeof CreateServerSchema>
export type StartServer = Static<typeof StartServerSchema>
export type StopMode = Static<typeof StopModeSchema>
export type StopServer = Static<typeof StopServerSchema>
export type SyncStandbys = Static<typeof SyncStandbysSchema>
export type TermOnly = Static<typeof TermOnlySchema>
export type FenceServer = Static<typeof FenceServerSchema>
export type FenceReport = Static<typeof FenceReportSchema>
export type Control = Static<typeof ControlSchema>
export type PromoteServer = Static<typeof PromoteServerSchema>
export type SetQuorum = Static<typeof SetQuorumSchema>
export type RejoinServer = Static<typeof RejoinServerSchema>
export type AdmitReplica = Static<typeof AdmitReplicaSchema>
export type Upstream = Static<typeof UpstreamSchema>
export type RejoinReport = Static<typeof RejoinReportSchema>
export type Liveness = Static<typeof LivenessSchema>
export type FollowServer = Static<typeof FollowServerSchema>
export type Promotion = Static<typeof PromotionSchema>
export type Credentials = Static<typeof CredentialsSchema>
export type AgentHealth = Static<typeof AgentHealthSchema>
