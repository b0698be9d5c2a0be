// The Postgres port of a router: its listener, the sessions behind it, and what they share.
import {
  FleetError,
  requireGrant,
  requirePermission,
  type Clock,
  type ShardMap,
  type ShardRecord,
} from '@fleetshard/core'
import type { ScramKeys } from '@fleetshard/routing/pgwire'
import {
  HoldBuffer,
  type DeadlineSweeper,
  type ShardAccess,
  type ShardLogin,
} from '@fleetshard/routing/execute'
import { refuseUnprotectedSetting, type StatementCache } from '@fleetshard/routing/plan'
import type { Logger, Tracing } from '../../runtime/mod.ts'
import type { Authenticator } from '../../security/mod.ts'
import { AdminSession, adminDatabase } from './admin/admin-session.ts'
import type { AdminView } from './admin/tables.ts'
import {
  WireListener,
  type EnteredClient,
  type WireClientSession,
  type WireLimits,
} from './listeners/pgwire/listener.ts'
import { QueryUsers } from './listeners/pgwire/query-users.ts'
import type { WireTls } from './listeners/pgwire/tls.ts'
import { trustEverybody, usersOfFile, type WireUsers } from './listeners/pgwire/users.ts'
import type { SessionEnvironment, SessionMetrics } from './session/environment.ts'
import { Greetings, settingsOfStartup } from './session/greeting.ts'
import { WireSession } from './session/session.ts'
import { StatementLimit, type StatementRates } from './statement-limit.ts'
import type { SlowStatements } from './slow-statements.ts'
import { StatementStats } from './session/statement-stats.ts'
import { WireStatements } from './session/wire-statements.ts'

/** How clients prove who they are. */
export type WireAuthentication =
  | { readonly kind: 'trust' }
  | { readonly kind: 'file'; readonly text: string; readonly path: string }
  | { readonly kind: 'query'; readonly text: string }

/** Settings of the Postgres port. */
export interface WireOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly limits: WireLimits
  readonly authentication: WireAuthentication
  readonly tls: WireTls | null
  readonly statementRates: StatementRates
}

/** What the port stands on. */
export interface WireParts {
  readonly log: Logger
  readonly clock: Clock
  readonly sweeper: DeadlineSweeper
  readonly statements: StatementCache
  readonly map: (keyspace: string) => ShardMap
  readonly maps: () => Iterable<ShardMap>
  readonly newerMap: (map: ShardMap) => Promise<void>
  readonly access: (shard: ShardRecord, login: ShardLogin | null) => ShardAccess
  /** The ways to all shards, as any role. */
  readonly accesses: () => Iterable<{ readonly access: ShardAccess; readonly user: string | null }>
  readonly metrics: SessionMetrics
  readonly slow: SlowStatements
  readonly tracing: Tracing | null
  readonly version: string
  readonly authenticator: Authenticator
  readonly options: WireOptions
}

/** Roles whose keys are kept; those who have not logged in for the longest are forgotten. */
const rolesMax = 1_000

/** The port. */
export class WirePort implements AsyncDisposable {
  readonly #parts: WireParts
  readonly #listener: WireListener
  readonly #environment: SessionEnvironment
  readonly #sessions = new Set<WireSession>()
  readonly #roles = new Map<string, { keys: ScramKeys; readonly login: ShardLogin }>()
  readonly #limit: StatementLimit
  #opened = 0

  /** @throws FleetError `invalid_config` for a file of users that cannot be used */
  constructor(parts: WireParts) {
    this.#parts = parts
    this.#limit = new StatementLimit(parts.clock, parts.options.statementRates)
    const { log, clock, sweeper, statements, map, newerMap, access, metrics, slow, tracing } = parts
    const { options, authenticator } = parts
    this.#environment = {
      log,
      clock,
      sweeper,
      statements,
      map,
      newerMap,
      holds: new HoldBuffer({ clock, newerMap }),
      access,
      metrics,
      slow,
      tracing,
      wireStatements: new WireStatements(),
      stats: new StatementStats(),
      greetings: new Greetings(clock),
    }
    this.#listener = new WireListener({
      log,
      clock,
      host: options.host,
      port: options.port,
      limits: options.limits,
      tls: options.tls,
      users: this.#users(options.authentication),
      authenticator,
      openSession: (client) => this.#open(client),
    })
  }

  /** Where it listens. */
  get address(): { readonly host: string; readonly port: number } {
    return this.#listener.address
  }

  /** Connections of clients. */
  get connections(): number {
    return this.#listener.connections
  }

  /** Wrong attempts of clients. */
  get attempts(): WireListener['attempts'] {
    return this.#listener.attempts
  }

  /** Sessions by what they do. */
  activities(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>()
    for (const { activity } of this.#sessions) counts.set(activity, (counts.get(activity) ?? 0) + 1)
    return counts
  }

  /** Idempotent. @throws the error of listen */
  listen(): Promise<void> {
    return this.#listener.listen()
  }

  drain(withinMs: number): Promise<void> {
    return this.#listener.drain(withinMs)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#listener[Symbol.asyncDispose]()
  }

  #users(authentication: WireAuthentication): WireUsers {
    switch (authentication.kind) {
      case 'trust':
        return trustEverybody
      case 'file':
        return usersOfFile(authentication.text, authentication.path)
      case 'query': {
        const { clock, access } = this.#parts
        return new QueryUsers({
          clock,
          text: authentication.text,
          map: (database) => this.#mapOf(database),
          access: (shard) => access(shard, null),
        })
      }
    }
  }

  /** The admin database has the users of any keyspace. */
  #mapOf(database: string): ShardMap {
    if (database !== adminDatabase) return this.#keyspace(database)
    for (const map of this.#parts.maps()) if (map.owners.length > 0) return map
    throw new FleetError('no_shard', 'no keyspace has an active shard yet')
  }

  /** A database is a keyspace by its name, or by the name that its databases have on all servers. */
  #keyspace(database: string): ShardMap {
    try {
      return this.#parts.map(database)
    } catch (error) {
      if (!(error instanceof FleetError) || error.code !== 'not_found') throw error
      const [only, another] = [...this.#parts.maps()].filter((map) => isDatabaseOf(map, database))
      if (only !== undefined && another === undefined) return only
      throw new FleetError('not_found', `database "${database}" does not exist`, {
        sqlstate: '3D000',
        hint: 'a database is a keyspace: fleetshard keyspace list shows them',
      })
    }
  }

  /** @throws FleetError for a database that does not exist, and settings that are refused */
  #open(client: EnteredClient): WireClientSession {
    const { claim, user, keys, principal } = client
    if (claim.database === adminDatabase) {
      this.#refuseAdmin(client)
      return new AdminSession({ client, view: this.#view() })
    }
    const map = this.#keyspace(claim.database)
    const name = map.snapshot.keyspace.name
    const onlyReads = principal !== null && requireGrant(principal, name) === 'read'
    for (const [setting, value] of claim.settings) refuseUnprotectedSetting(setting, value, map)
    this.#opened += 1
    const session = new WireSession({
      environment: this.#environment,
      client,
      start: {
        ...settingsOfStartup(claim.settings),
        keyspace: name,
        user,
        onlyReads,
        login: keys === null || isOwner(map, user) ? null : this.#loginOf(user, keys),
        ordinal: this.#opened,
        spend: this.#limit.allowanceOf({ login: loginNameOf(client), host: client.host }),
      },
      onEnd: () => {
        this.#sessions.delete(session)
      },
    })
    this.#sessions.add(session)
    return session
  }

  /** Those who own a keyspace's databases may look at the router, and whose token says that he may. */
  #refuseAdmin({ user, keys, principal }: EnteredClient): void {
    if (principal !== null) requirePermission(principal, 'view')
    if (keys === null || [...this.#parts.maps()].some((map) => isOwner(map, user))) return
    throw new FleetError('login_refused', `user "${user}" may not use the database "${adminDatabase}"`, {
      sqlstate: '42501',
      hint: 'log in as the user of the node records',
    })
  }

  /** The same object for the same user, whatever keys he has shown last. */
  #loginOf(user: string, keys: ScramKeys): ShardLogin {
    const known = this.#roles.get(user)
    if (known !== undefined) {
      known.keys = keys
      this.#roles.delete(user)
      this.#roles.set(user, known)
      return known.login
    }
    const role = { keys, login: { user, keys: () => role.keys } }
    this.#roles.set(user, role)
    const [oldest] = this.#roles.keys()
    if (this.#roles.size > rolesMax && oldest !== undefined) this.#roles.delete(oldest)
    return role.login
  }

  #view(): AdminView {
    const { maps, accesses, statements, version } = this.#parts
    return {
      version,
      sessions: () => this.#sessions,
      maps,
      accesses,
      stats: this.#environment.stats,
      statements,
    }
  }
}

/** Null where the client could call itself what it likes. */
const loginNameOf = ({ user, keys, principal }: EnteredClient): string | null =>
  principal?.subject ?? (keys === null ? null : `the user ${user}`)

/** True for the user of the node records: the pools of the shards are his. */
const isOwner = ({ snapshot }: ShardMap, user: string): boolean =>
  snapshot.shards.some(({ nodes }) => nodes.some((node) => node.user === user))

/** True when every server of the keyspace calls its database so: connection strings may go on as they were. */
function isDatabaseOf({ snapshot }: ShardMap, database: string): boolean {
  const nodes = snapshot.shards.flatMap((shard) => shard.nodes)
  return nodes.length > 0 && nodes.every((node) => node.database === database)
}
