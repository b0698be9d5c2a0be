// Direct clients that take part like routers: registered in the catalog as long as they renew, with the epochs they
// work with, and told how to log in to the servers of their keyspace.
import { FleetError, parseRouterId, type Clock, type RouterRecord, type ShardMap } from '@fleetshard/core'
import type { DirectLogin, DirectSession, DirectSessionRequest } from '@fleetshard/core/contract'
import type { DirectRegistration, RouterPort } from '../../../catalog/router-port.ts'
import type { Passwords } from './passwords.ts'

/** What the sessions stand on. */
export interface DirectSessionsParts {
  readonly clock: Clock
  readonly port: Pick<RouterPort, 'registerDirect' | 'view'>
  readonly passwords: Pick<Passwords, 'loginOf'>
  /** The map of a keyspace. @throws FleetError `not_found` */
  readonly map: (keyspace: string) => ShardMap
  /** Of this router: its clients are registered as reached through it. */
  readonly router: { readonly host: string; readonly port: number; readonly version: string }
}

/** A session that is not renewed within this time ends. */
export const sessionTtlMs = 30_000
/** Direct clients of one router. */
const sessionsMax = 1_000
/** How long reading the logins of all servers may take. */
const loginsTimeoutMs = 2_000

interface Session {
  readonly registration: DirectRegistration
  stop: () => void
}

/** The sessions of one router. */
export class DirectSessions implements AsyncDisposable {
  readonly #parts: DirectSessionsParts
  readonly #sessions = new Map<string, Session>()

  constructor(parts: DirectSessionsParts) {
    this.#parts = parts
  }

  /** Direct clients that are registered through this router. */
  get size(): number {
    return this.#sessions.size
  }

  /** Begins or renews a session. @throws FleetError `not_found`, `overloaded` */
  async renew(request: DirectSessionRequest): Promise<DirectSession> {
    const map = this.#parts.map(request.keyspace)
    const session = this.#sessions.get(request.client_id) ?? this.#begin(request.client_id)
    session.stop()
    session.stop = this.#parts.clock.after(sessionTtlMs, () => void this.end(request.client_id))
    session.registration.acknowledge(map.snapshot.keyspace.name, request.acked_epoch)
    return {
      client_id: request.client_id,
      cluster: this.#parts.port.view.current().cluster?.id ?? null,
      ttl_ms: sessionTtlMs,
      logins: await this.#logins(map),
    }
  }

  /** Ends a session; one that is not there has ended. */
  async end(clientId: string): Promise<void> {
    const session = this.#sessions.get(clientId)
    if (session === undefined) return
    this.#sessions.delete(clientId)
    session.stop()
    await session.registration[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#sessions.keys()].map((id) => this.end(id)))
  }

  #begin(clientId: string): Session {
    if (this.#sessions.size >= sessionsMax) {
      throw new FleetError('overloaded', `${String(sessionsMax)} direct clients are registered already`, {
        hint: "use mode 'http', or another router",
      })
    }
    const registration = this.#parts.port.registerDirect(this.#recordOf(clientId))
    const session: Session = { registration, stop: () => undefined }
    this.#sessions.set(clientId, session)
    return session
  }

  #recordOf(clientId: string): RouterRecord {
    const { host, port, version } = this.#parts.router
    return {
      id: parseRouterId(clientId),
      kind: 'direct',
      host,
      httpPort: port,
      pid: 0,
      version,
      region: null,
      zone: null,
      ackedEpochs: {},
      startedAt: new Date(this.#parts.clock.now()).toISOString(),
    }
  }

  /** Those that can be had: the client asks again for a server whose login it lacks. */
  async #logins({ snapshot }: ShardMap): Promise<DirectLogin[]> {
    const signal = AbortSignal.timeout(loginsTimeoutMs)
    const nodes = snapshot.shards.flatMap((shard) => shard.nodes)
    const logins = await Promise.allSettled(
      nodes.map(async (node): Promise<DirectLogin> => {
        const { user, password } = await this.#parts.passwords.loginOf(node, signal)
        return { node_id: node.id, user, password }
      }),
    )
    return logins.flatMap((login) => (login.status === 'fulfilled' ? [login.value] : []))
  }
}
