// What a client is told when it connects, with the defaults.
import { FleetError } from '@fleetshard/core'
import type { FleetShardError } from './errors.ts'
import type { Consistency } from './statement.ts'

/** A server of a shard, as the function for credentials sees it. */
export interface NodeAddress {
  readonly id: string
  readonly shardId: string
  readonly role: 'primary' | 'replica' | 'standby'
  readonly host: string
  readonly port: number
  readonly database: string
  /** The user that routers log in as. */
  readonly user: string
}

/** A login to a server of a shard. */
export interface NodeLogin {
  readonly user: string
  readonly password: string
}

/** How direct mode logs in to the servers: one login for all, or one for each, asked for at every connection. */
export type Credentials = NodeLogin | ((node: NodeAddress) => NodeLogin | Promise<NodeLogin>)

/** Bounds of direct mode for each server. */
export interface PoolOptions {
  /** Connections, lanes included; 20 by default. */
  readonly connectionsMax?: number
  /** Connections that reads share; 2 by default. */
  readonly lanesMax?: number
  /** Reads in flight on one of those; 64 by default. */
  readonly laneInFlightMax?: number
  /** Statements that wait for a connection; more fail with `overloaded`. 1,000 by default. */
  readonly queueMax?: number
  /** How long one waits for a connection, and for a server to take one; 5,000 by default. */
  readonly waitMs?: number
  /** Idle connections are closed after this time; 60,000 by default. */
  readonly idleMs?: number
}

/** A bearer token, or how to get one. */
export type TokenOption = string | (() => string | Promise<string>)

/** Certificates in PEM: the text itself, or the path of a file with it. Node only. */
export interface TlsOptions {
  /** Authorities that are trusted, in place of those of the system. */
  readonly ca?: string
  /** What is shown to routers and servers that want to see one, with its chain. */
  readonly cert?: string
  /** The key of that. */
  readonly key?: string
}

/** What `connect` is told. */
export interface ConnectOptions {
  /** Base URL of a router. */
  readonly url?: string
  /** Of several routers, in the order of preference. */
  readonly urls?: readonly string[]
  /**
   * The topology file of a static fleet, in place of routers: its path, or its text (a JSON object). Node only; the
   * mode is `direct`. A file that has a path is followed: what changes in it is taken as routers take it.
   */
  readonly topology?: string
  /** Told why a new version of that file is not used; the one before it stays. Once for each reason. */
  readonly onTopologyRefused?: (error: FleetShardError) => void
  /** `default` by default; with a `topology` the keyspace of the file. */
  readonly keyspace?: string
  /**
   * `http`: through a router. `direct`: straight to the servers of the shards, Node only. `http` by default, and
   * `direct` with a `topology`.
   */
  readonly mode?: 'http' | 'direct'
  /**
   * False: `connect`, and statements, fail where direct mode is not possible (no login, no way to the servers). By
   * default the client goes through a router then, where it must for the shards in question alone; `mode` and
   * `fallback` of the client tell.
   */
  readonly fallback?: boolean
  /** Of calls that say nothing; that of the keyspace by default. */
  readonly consistency?: Consistency
  /** Of calls that say nothing, milliseconds; 30,000 by default. */
  readonly timeoutMs?: number
  /** How long `connect` waits for a router; 5,000 by default. */
  readonly connectTimeoutMs?: number
  /** Rows of one result, beyond which it is an error; streams have no limit. 100,000 by default. */
  readonly rowsMax?: number
  /** Statements of `all()` at a time; 8 by default. */
  readonly shardsAtOnce?: number
  /** Bearer token for the routers; a function is asked before each request, for tokens that expire. */
  readonly token?: TokenOption
  /**
   * For routers at https URLs and, in direct mode, servers under TLS: what to trust and show. Redirects are not
   * followed then.
   */
  readonly tls?: TlsOptions
  /** In place of the global fetch and, on Node, of its HTTP client, which answers that are not streamed come by. */
  readonly fetch?: typeof fetch
  /** Direct mode: how to log in to the servers; by default a router on this machine, or the topology, tells. */
  readonly credentials?: Credentials
  /** Direct mode: bounds for each server. */
  readonly pool?: PoolOptions
  /**
   * Direct mode: path of a file with a copy of the shard map, by which the client starts while no router answers. It
   * holds no passwords, so a start from it needs `credentials`.
   */
  readonly mapCopy?: string
}

/** Bounds of a client with the defaults filled in. */
export interface Limits {
  readonly timeoutMs: number
  readonly connectTimeoutMs: number
  readonly rowsMax: number
  readonly shardsAtOnce: number
  /** How long a statement waits for a newer map after a shard refused the one at hand. */
  readonly newerMapMs: number
}

const limitsDefault: Limits = {
  timeoutMs: 30_000,
  connectTimeoutMs: 5_000,
  rowsMax: 100_000,
  shardsAtOnce: 8,
  newerMapMs: 2_000,
}

/** The bounds of those options. @throws FleetError `invalid_request` */
export function limitsOf(options: ConnectOptions): Limits {
  const limits = {
    timeoutMs: options.timeoutMs ?? limitsDefault.timeoutMs,
    connectTimeoutMs: options.connectTimeoutMs ?? limitsDefault.connectTimeoutMs,
    rowsMax: options.rowsMax ?? limitsDefault.rowsMax,
    shardsAtOnce: options.shardsAtOnce ?? limitsDefault.shardsAtOnce,
    newerMapMs: limitsDefault.newerMapMs,
  }
  for (const [name, value] of Object.entries(limits)) checkPositive(name, value)
  return limits
}

/** @throws FleetError `invalid_request` unless it is a whole number from 1 on */
export function checkPositive(name: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 1) return
  throw new FleetError(
    'invalid_request',
    `${name} is ${String(value)}, which is not a whole number from 1 on`,
    {
      hint: `leave ${name} out for the default`,
    },
  )
}

/** The base URLs, without a slash at the end. @throws FleetError `invalid_request` */
export function urlsOf({ url, urls }: ConnectOptions): readonly string[] {
  const given = [...(url === undefined ? [] : [url]), ...(urls ?? [])]
  if (given.length === 0) {
    throw new FleetError('invalid_request', 'no router was named', {
      hint: "connect({ url: 'http://127.0.0.1:8080' })",
    })
  }
  return given.map((text) => {
    const parsed = URL.canParse(text) ? new URL(text) : null
    if (parsed === null || (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')) {
      throw new FleetError('invalid_request', `${JSON.stringify(text)} is not the URL of a router`, {
        hint: 'it looks like http://127.0.0.1:8080',
      })
    }
    return parsed.href.replace(/\/$/, '')
  })
}
