// The session of a direct client with the routers: it is registered as long as it renews, says which map it works
// with, and is told how to log in to the servers of the shards.
import { FleetError, type Clock, type NodeRecord } from '@fleetshard/core'
import { arrayAt, numberAt, objectOf, textAt, textOrNullAt } from '../json-reader.ts'
import type { Routers } from '../http/routers.ts'
import type { Credentials, NodeLogin } from '../options.ts'
import { loginByCredentials, type Membership } from './membership.ts'

/** What a session is made of. */
export interface SessionParts {
  readonly clock: Clock
  readonly routers: Routers
  readonly clientId: string
  readonly keyspace: string
  readonly timeoutMs: number
  /** Logins of the caller's own, which outrank those that a router tells. */
  readonly credentials: Credentials | undefined
  /** The epoch that this client works with. */
  readonly epoch: () => number
  /** The cluster that the map is of, as far as its copy tells. */
  readonly copiedCluster?: () => string | null
}

/** Renewals happen at this part of the time to live. */
const renewPart = 1 / 3
/** Pause after a renewal that no router has answered. */
const retryMs = 1_000
/** How long the routers are asked for the login of a server that they have not told. */
const loginWaitMs = 2_000
/** Pause before they are asked again; it doubles. */
const loginPauseMs = 20
const path = '/v1/topology/sessions'

/** Registered with the routers; `close` ends it. */
export class DirectSession implements Membership {
  readonly #parts: SessionParts
  readonly #stop = new AbortController()
  #logins: ReadonlyMap<string, { readonly user: string; readonly password: string | null }> = new Map()
  #cluster: string | null = null
  #ttlMs = 0
  #opening: Promise<void> | null = null
  #running: Promise<void> = Promise.resolve()
  #wake: () => void = () => undefined

  constructor(parts: SessionParts) {
    this.#parts = parts
  }

  /** The uuid of the cluster; null when no router has told it. */
  get cluster(): string | null {
    return this.#cluster ?? this.#parts.copiedCluster?.() ?? null
  }

  /**
   * Registers, and stays registered from then on.
   * @throws FleetError `direct_refused` when the routers hand out no logins and the caller has given none
   */
  async start(): Promise<void> {
    try {
      await this.#open()
    } catch (error) {
      if (this.#parts.credentials === undefined) throw error
      // With logins of its own a client works without a session: it can be fenced by the shards alone.
    }
    this.#running = this.#renew()
  }

  /** The map has changed: the routers are told soon. */
  acknowledge(): void {
    this.#wake()
  }

  /**
   * How to log in to a server. A router whose map is older than ours does not know of a new one yet, and a request
   * that was under way before we did may be answered so as well: the routers are asked until one does, for a while.
   * @throws FleetError `secret_unavailable`, and what `Routers` throws
   */
  async login(node: NodeRecord, shardId: string): Promise<NodeLogin> {
    const { credentials, clock, routers } = this.#parts
    if (credentials !== undefined) return loginByCredentials(credentials, node, shardId)
    const untilMs = clock.monotonic() + loginWaitMs
    for (let pauseMs = loginPauseMs; ; pauseMs *= 2) {
      const known = this.#logins.get(node.id)
      if (known !== undefined) return { user: known.user, password: known.password ?? '' }
      await this.#open()
      if (this.#logins.has(node.id)) continue
      if (clock.monotonic() + pauseMs > untilMs) break
      routers.rotate()
      await clock.sleep(pauseMs, this.#stop.signal)
    }
    throw new FleetError('secret_unavailable', `no router tells how to log in to node ${node.id}`, {
      hint: 'give connect the option credentials',
    })
  }

  /** A server refused a login: it is asked for again next time. */
  refused(nodeId: string): void {
    const left = new Map(this.#logins)
    left.delete(nodeId)
    this.#logins = left
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running
    const { routers, clientId, timeoutMs } = this.#parts
    if (this.#ttlMs === 0) return
    const request = { method: 'DELETE', path: `${path}/${clientId}`, repeat: {} } as const
    // The session ends by itself when nobody hears this.
    await routers.call(request, { timeoutMs }).catch(() => undefined)
  }

  /** Many who need it are one request. */
  #open(): Promise<void> {
    this.#opening ??= this.#post().finally(() => {
      this.#opening = null
    })
    return this.#opening
  }

  async #post(): Promise<void> {
    const { routers, clientId, keyspace, epoch, timeoutMs } = this.#parts
    const body = { client_id: clientId, keyspace, acked_epoch: epoch() }
    const { json } = await routers.call({ method: 'POST', path, body, repeat: { body } }, { timeoutMs })
    const answer = objectOf(json, 'session')
    this.#cluster = textOrNullAt(answer, 'cluster')
    this.#ttlMs = numberAt(answer, 'ttl_ms')
    const logins = arrayAt(answer, 'logins').map((item) => objectOf(item, 'login'))
    this.#logins = new Map(
      logins.map((login) => [
        textAt(login, 'node_id'),
        { user: textAt(login, 'user'), password: textOrNullAt(login, 'password') },
      ]),
    )
  }

  async #renew(): Promise<void> {
    const { signal } = this.#stop
    let delayMs = this.#ttlMs === 0 ? retryMs : this.#ttlMs * renewPart
    while (!signal.aborted) {
      await this.#pause(delayMs)
      if (signal.aborted) return
      try {
        await this.#open()
        delayMs = this.#ttlMs * renewPart
      } catch {
        // The shards themselves keep a stale client out; what it knows stays good until they say so.
        delayMs = retryMs
      }
    }
  }

  /** Until the time is over, or there is something to tell. */
  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const { signal } = this.#stop
      const finish = (): void => {
        stop()
        signal.removeEventListener('abort', finish)
        this.#wake = () => undefined
        resolve()
      }
      const stop = this.#parts.clock.after(delayMs, finish)
      signal.addEventListener('abort', finish, { once: true })
      this.#wake = finish
    })
  }
}
