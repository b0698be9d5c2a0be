// What a manager is made of. Wired in roles/ only.
import type { AgentRecord, Clock } from '@fleetshard/core'
import type { AgentClient } from '../../agent-api/mod.ts'
import type { AuditLog } from '../../audit/mod.ts'
import type { Catalog } from '../../catalog/mod.ts'
import type { EngineName, NodeTarget, ShardEngine } from '../../engine/mod.ts'
import type { Gate } from '../../runtime/http/mod.ts'
import type { Logger, Metrics, ServerTls, Tracing } from '../../runtime/mod.ts'
import type { EnvelopeSealer, KnownTokens, Oidc, SecretResolver, SessionCheck } from '../../security/mod.ts'

/** Settings of one manager. */
export interface ManagerOptions {
  /** Unique among managers: its name in the election. */
  readonly id: string
  /** Version of the program, shown in /health and OpenAPI. */
  readonly version: string
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Where other managers reach this one; made of host and port by default. */
  readonly advertisedUrl?: string
  readonly bodyBytesMax?: number
  /** For one request to arrive. */
  readonly receiveMsMax?: number
  /** For the check of one database server. */
  readonly nodeCheckMs?: number
  readonly leaseTtlMs?: number
  /** How often the catalog is asked whether it is there; silent for three and a half times as long, it counts as gone. */
  readonly catalogProbeMs?: number
}

/** Signing in with a browser. */
export interface SignInSetting {
  readonly oidc: Oidc
  /** Seals what a browser keeps while it is at the issuer: all managers have the same keys. */
  readonly sealer: EnvelopeSealer
  readonly sessionMs: number
  /** Failed logins of one address in a minute, and how many at once; 0 for no limit. */
  readonly failuresPerMinute: number
}

/** Parts of one manager. */
export interface ManagerDeps {
  readonly log: Logger
  readonly clock: Clock
  readonly catalog: Catalog
  readonly engine: (name: EngineName) => ShardEngine
  /** A client of that agent; `token` is what its `tokenRef` stands for. */
  readonly agent: (record: AgentRecord, token: string) => AgentClient
  readonly secrets: SecretResolver
  readonly metrics: Metrics
  /** Null, or left out, where there are no traces. */
  readonly tracing?: Tracing | null
  /** Has every change that was tried: before it is made, and when its outcome is known. */
  readonly audit: AuditLog
  /** @param tokens those of the catalog @param sessions null where nobody signs in with a browser */
  readonly gate: (tokens: () => KnownTokens, sessions: SessionCheck | null) => Gate
  /** Null, or left out, where nobody signs in with a browser. */
  readonly signIn?: SignInSetting | null
  /** Null, or left out, for plain HTTP. */
  readonly tls?: ServerTls | null
  /** For the way to the manager that leads; in place of the global one. */
  readonly fetch?: typeof fetch
  /** How this process reaches shards under TLS; by what the system trusts where it is left out. */
  readonly tlsContext?: NodeTarget['tlsContext']
  readonly options: ManagerOptions
}

/** Defaults of the options. */
export const managerDefaults = {
  bodyBytesMax: 10 * 1024 * 1024,
  receiveMsMax: 60_000,
  nodeCheckMs: 5_000,
  leaseTtlMs: 10_000,
  catalogProbeMs: 2_000,
} as const
