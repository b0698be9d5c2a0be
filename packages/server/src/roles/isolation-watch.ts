// Stops primaries that are alone: under protection one that sees neither the catalog nor a replica acknowledges nothing
// any more, and may have a successor that it does not know of; whoever reads from it reads what is old.
import { FleetError, type Clock } from '@fleetshard/core'
import type { Agent } from '../agent/mod.ts'
import type { Catalog } from '../catalog/mod.ts'
import type { Logger, Service } from '../runtime/mod.ts'

const lookMs = 1_000
/** The catalog has so long to answer one look. */
const catalogMsMax = 2_000
/** Servers change their shards seldom; one that is new has its shard a little later. */
const serversEveryMs = 10_000

/** What the watch stands on. */
export interface IsolationWatchParts {
  readonly agent: Pick<Agent, 'list' | 'hearsReplica' | 'standDown'>
  /** Id of the agent, as node records have it. */
  readonly id: string
  readonly catalog: Catalog
  readonly clock: Clock
  readonly log: Logger
  /** How long a primary may be alone. */
  readonly isolationMs: number
}

/** A service of the agent's process. */
export function isolationWatch(parts: IsolationWatchParts): Service {
  return {
    name: 'isolation watch',
    async run(signal) {
      const watch = new Watch(parts)
      while (!signal.aborted) {
        await watch.look(signal)
        await parts.clock.sleep(lookMs, signal).catch(() => undefined)
      }
    },
    drain: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

class Watch {
  readonly #parts: IsolationWatchParts
  /** Servers of keyspaces under protection, as the catalog last told. */
  #servers: {
    readonly keyspaces: string
    readonly protected: ReadonlySet<string>
    readonly atMs: number
  } | null = null
  /** Servers of the agent, and since when they are those. */
  #own = { ids: '', sinceMs: 0 }
  /** Since the catalog is gone: when each server last heard a replica, or was first seen without. */
  readonly #heardMs = new Map<string, number>()

  constructor(parts: IsolationWatchParts) {
    this.#parts = parts
  }

  async look(signal: AbortSignal): Promise<void> {
    // As long as the catalog is there, an agent is told of everything else.
    if (await this.#catalogAnswers(signal)) {
      this.#heardMs.clear()
      return
    }
    for (const { id, kind, state } of this.#parts.agent.list()) {
      const isWatched = kind === 'primary' && state === 'running' && this.#servers?.protected.has(id) === true
      if (isWatched) await this.#lookAt(id, signal)
      else this.#heardMs.delete(id)
    }
  }

  async #lookAt(id: string, signal: AbortSignal): Promise<void> {
    const { agent, clock, log, isolationMs } = this.#parts
    const hears = await agent.hearsReplica(id).catch(() => false)
    const nowMs = clock.monotonic()
    const heardMs = hears ? nowMs : (this.#heardMs.get(id) ?? nowMs)
    this.#heardMs.set(id, heardMs)
    const aloneMs = nowMs - heardMs
    if (signal.aborted || aloneMs < isolationMs) return
    log.error({ server: id, aloneMs }, 'the primary sees neither the catalog nor a replica: it is stopped')
    this.#heardMs.delete(id)
    await agent.standDown(id).catch((error: unknown) => {
      log.error({ server: id, err: error }, 'the primary that is alone could not be stopped')
    })
  }

  async #catalogAnswers(signal: AbortSignal): Promise<boolean> {
    const { clock, catalog, id: agent } = this.#parts
    const stop = new AbortController()
    const cancel = clock.after(catalogMsMax, () => {
      stop.abort(new FleetError('deadline_exceeded', 'the catalog does not answer'))
    })
    const bounded = AbortSignal.any([signal, stop.signal])
    try {
      const keyspaces = await catalog.keyspaces.list(bounded)
      const nowMs = clock.monotonic()
      const names = keyspaces
        .map(({ record }) => record)
        .filter(({ durability }) => durability === 'protection')
        .map(({ name }) => name)
      const ids = this.#parts.agent
        .list()
        .map(({ id }) => id)
        .join(' ')
      if (ids !== this.#own.ids) this.#own = { ids, sinceMs: nowMs }
      const isKnown =
        this.#servers?.keyspaces === names.join(' ') && nowMs - this.#own.sinceMs >= serversEveryMs
      if (isKnown && nowMs - (this.#servers?.atMs ?? 0) < serversEveryMs) return true
      const servers = new Set<string>()
      for (const name of names) {
        for (const { record: shard } of await catalog.shards.list(name, bounded)) {
          for (const node of shard.nodes) if (node.agent === agent) servers.add(node.id)
        }
      }
      this.#servers = { keyspaces: names.join(' '), protected: servers, atMs: nowMs }
      return true
    } catch {
      return false
    } finally {
      cancel()
    }
  }
}
