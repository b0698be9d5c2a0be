// A live, consistent copy of the catalog, fed by one read and one watch. Managers answer reads from it while
// the catalog is down; routers route by it.
import {
  toFleetError,
  type AgentRecord,
  type FleetError,
  type JobId,
  type JobRecord,
  type KeyspaceName,
  type KeyspaceSnapshot,
  type RouterId,
  type RouterRecord,
  type SessionRecord,
  type TokenRecord,
} from '@fleetshard/core'
import type { Service } from '../runtime/mod.ts'
import type { Stored, StoredKeyspace } from './contract.ts'
import { createBackoff, type Backoff } from './deadline.ts'
import { keys } from './keys.ts'
import type { LeaseDeps } from './leases.ts'
import type { ClusterRecord, JobOwnerRecord } from './records.ts'
import { createStateBuilder } from './view-state.ts'
import { createWake } from './wake.ts'

/**
 * The catalog at one moment: all of every commit up to it, and nothing of any later one. Immutable; parts that
 * did not change keep their identity from one state to the next.
 */
export interface CatalogState {
  readonly cluster: ClusterRecord | null
  /** A keyspace with a corrupt record stays as it was before, or is missing if it never was whole. */
  readonly keyspaces: ReadonlyMap<KeyspaceName, KeyspaceSnapshot>
  /** What to hand to `changeRouting` as its base. Missing for keyspaces that came from a seed. */
  readonly stored: ReadonlyMap<KeyspaceName, StoredKeyspace>
  readonly jobs: ReadonlyMap<JobId, Stored<JobRecord>>
  readonly jobOwners: ReadonlyMap<JobId, JobOwnerRecord>
  readonly routers: ReadonlyMap<RouterId, RouterRecord>
  readonly agents: ReadonlyMap<string, AgentRecord>
  /** Tokens of the API, by id. */
  readonly tokens: ReadonlyMap<string, TokenRecord>
  /** Of those who have signed in with a browser, by id; some may have expired. */
  readonly sessions: ReadonlyMap<string, SessionRecord>
  /** Records that cannot be read, by key. */
  readonly corrupt: ReadonlyMap<string, FleetError>
}

/** What differs between two states. */
export interface CatalogChange {
  readonly state: CatalogState
  readonly keyspaces: ReadonlySet<KeyspaceName>
  readonly jobs: ReadonlySet<JobId>
  readonly routers: ReadonlySet<RouterId>
  readonly agents: ReadonlySet<string>
}

/** A live copy. `run` feeds it until its signal aborts, through outages and compactions. */
export interface CatalogView extends Service {
  /** Empty before the first load, unless seeded. */
  current(): CatalogState
  /** True once loaded from the catalog itself. */
  isLoaded(): boolean
  /** Resolves when loaded. @throws the signal's reason */
  loaded(signal: AbortSignal): Promise<CatalogState>
  /** Resolves with the first state, from now on, that fulfils the condition. @throws the signal's reason */
  until(condition: (state: CatalogState) => boolean, signal: AbortSignal): Promise<CatalogState>
  /** Milliseconds since the catalog last answered; Infinity if it never did. */
  ageMs(): number
  /** Called after each change, in order; must not throw. @returns ends the subscription */
  subscribe(listener: (change: CatalogChange) => void): () => void
  /**
   * The same as a stream. A reader that is slow gets several changes as one, never a backlog.
   * Ends when the signal aborts.
   */
  changes(signal: AbortSignal): AsyncIterable<CatalogChange>
}

export interface CatalogViewOptions {
  /** Keyspaces to hold until the catalog has answered: a router's copy on disk. */
  readonly seed?: readonly KeyspaceSnapshot[]
  /** How often the catalog is asked whether it is there, when nothing changes. Default 2 s. */
  readonly probeEveryMs?: number
}

const probeEveryMsDefault = 2_000

/** A view, to be run by the caller. */
export function createCatalogView(deps: LeaseDeps, options: CatalogViewOptions = {}): CatalogView {
  return new LiveView(deps, options)
}

class LiveView implements CatalogView {
  readonly name = 'catalog view'
  readonly #deps: LeaseDeps
  readonly #probeEveryMs: number
  readonly #builder: ReturnType<typeof createStateBuilder>
  readonly #listeners = new Set<(change: CatalogChange) => void>()
  readonly #stop = new AbortController()
  #lastContactMs = -Infinity
  #loaded = false
  #reachable = true
  #running: Promise<void> = Promise.resolve()

  constructor(deps: LeaseDeps, options: CatalogViewOptions) {
    this.#deps = deps
    this.#probeEveryMs = options.probeEveryMs ?? probeEveryMsDefault
    this.#builder = createStateBuilder(options.seed)
  }

  current(): CatalogState {
    return this.#builder.current()
  }

  isLoaded(): boolean {
    return this.#loaded
  }

  loaded(signal: AbortSignal): Promise<CatalogState> {
    return this.until(() => this.#loaded, signal)
  }

  ageMs(): number {
    return this.#deps.clock.monotonic() - this.#lastContactMs
  }

  subscribe(listener: (change: CatalogChange) => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  until(condition: (state: CatalogState) => boolean, signal: AbortSignal): Promise<CatalogState> {
    const { promise, resolve, reject } = Promise.withResolvers<CatalogState>()
    const settle = (state: CatalogState | null): void => {
      unsubscribe()
      signal.removeEventListener('abort', onAbort)
      if (state === null) reject(signal.reason as Error)
      else resolve(state)
    }
    const onAbort = (): void => {
      settle(null)
    }
    const unsubscribe = this.subscribe(({ state }) => {
      if (condition(state)) settle(state)
    })
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) settle(null)
    else if (condition(this.current())) settle(this.current())
    return promise
  }

  async *changes(signal: AbortSignal): AsyncIterable<CatalogChange> {
    const wake = createWake(this.#deps.clock)
    let pending: CatalogChange | null = null
    const unsubscribe = this.subscribe((change) => {
      pending = pending === null ? change : mergeChanges(pending, change)
      wake.notify()
    })
    try {
      while (!signal.aborted) {
        const seen = wake.count()
        const next: CatalogChange | null = pending
        pending = null
        if (next === null) await wake.wait(seen, signal)
        else yield next
      }
    } finally {
      unsubscribe()
    }
  }

  async run(signal: AbortSignal): Promise<void> {
    const both = AbortSignal.any([signal, this.#stop.signal])
    this.#running = Promise.all([this.#follow(both), this.#probe(both)]).then(() => undefined)
    await this.#running
  }

  drain(): Promise<void> {
    return Promise.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  /** Reads and watches, anew after each compaction and each error. Never rejects. */
  async #follow(signal: AbortSignal): Promise<void> {
    const backoff = createBackoff(this.#deps.clock)
    while (!signal.aborted) {
      try {
        await this.#followOnce(backoff, signal)
      } catch (error) {
        if (signal.aborted) return
        this.#lost(error)
        await backoff.wait(signal).catch(() => undefined)
      }
    }
  }

  /** Until the history is gone. */
  async #followOnce(backoff: Backoff, signal: AbortSignal): Promise<void> {
    const { entries, revision } = await this.#deps.store.read(keys.all, signal)
    this.#contact()
    backoff.succeeded()
    const first = !this.#loaded
    this.#loaded = true
    // The first load is always told, also when the catalog is empty: others wait for it.
    this.#tell(this.#builder.load(entries) ?? (first ? nothingChanged(this.current()) : null))
    for await (const event of this.#deps.store.watch(keys.all, revision, signal)) {
      this.#contact()
      if (event.kind === 'batch') this.#tell(this.#builder.apply(event.changes))
    }
  }

  /** A quiet catalog sends nothing, so that only asking tells whether it is there. Never rejects. */
  async #probe(signal: AbortSignal): Promise<void> {
    const { clock, store } = this.#deps
    while (!signal.aborted) {
      await clock.sleep(this.#probeEveryMs, signal).catch(() => undefined)
      if (signal.aborted) return
      try {
        await store.read(keys.cluster, signal)
        this.#contact()
      } catch (error) {
        if (!signal.aborted) this.#lost(error)
      }
    }
  }

  #contact(): void {
    this.#lastContactMs = this.#deps.clock.monotonic()
    if (!this.#reachable) this.#deps.log.info('the catalog answers again')
    this.#reachable = true
  }

  #lost(error: unknown): void {
    const { code, message } = toFleetError(error)
    if (this.#reachable)
      this.#deps.log.warn({ code, reason: message }, 'the catalog does not answer; the last map is kept')
    this.#reachable = false
  }

  #tell(change: CatalogChange | null): void {
    if (change === null) return
    for (const listener of this.#listeners) {
      try {
        listener(change)
      } catch (error) {
        this.#deps.log.error({ err: error }, 'a listener to the catalog failed')
      }
    }
  }
}

function nothingChanged(state: CatalogState): CatalogChange {
  return { state, keyspaces: new Set(), jobs: new Set(), routers: new Set(), agents: new Set() }
}

/** Two changes in a row as one. */
function mergeChanges(first: CatalogChange, second: CatalogChange): CatalogChange {
  return {
    state: second.state,
    keyspaces: new Set([...first.keyspaces, ...second.keyspaces]),
    jobs: new Set([...first.jobs, ...second.jobs]),
    routers: new Set([...first.routers, ...second.routers]),
    agents: new Set([...first.agents, ...second.agents]),
  }
}
