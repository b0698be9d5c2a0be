// The shard maps that this router works with: fed by the catalog's view, never lowered, told to the catalog.
import {
  FleetError,
  buildShardMap,
  mayReplace,
  type Clock,
  type KeyspaceName,
  type KeyspaceSnapshot,
  type ShardMap,
  type ShardRecord,
} from '@fleetshard/core'
import type { RouterPort } from '../../../catalog/router-port.ts'
import type { Logger } from '../../../runtime/mod.ts'

/** What the maps are made of. */
export interface MapsParts {
  readonly log: Logger
  readonly clock: Clock
  readonly port: RouterPort
  /** Told after a map was taken, in place of the one held before. */
  readonly onMap: (map: ShardMap, held: ShardMap | null) => void
  readonly onGone: (keyspace: KeyspaceName) => void
}

/** While changes come fast, building maps takes at most this part of the time. */
const buildShareMax = 0.25

/** Live shard maps by keyspace. */
export class Maps implements Disposable {
  readonly #parts: MapsParts
  readonly #maps = new Map<string, ShardMap>()
  readonly #waiting = new Set<() => void>()
  readonly #listeners = new Set<() => void>()
  readonly #unsubscribe: () => void
  #stopBuild: (() => void) | null = null
  #dirty = new Set<KeyspaceName>()
  #notBeforeMs = 0

  constructor(parts: MapsParts) {
    this.#parts = parts
    for (const name of parts.port.view.current().keyspaces.keys()) this.#dirty.add(name)
    this.#build()
    this.#unsubscribe = parts.port.view.subscribe(({ keyspaces }) => {
      for (const name of keyspaces) this.#dirty.add(name)
      if (this.#dirty.size === 0) return
      // The first map at once: whoever waits for the catalog to be loaded may rely on it.
      if (this.#maps.size === 0) this.#build()
      else this.#schedule()
    })
  }

  /** The map of a keyspace. @throws FleetError `not_found`, `catalog_unavailable` before any map is known */
  get(keyspace: string): ShardMap {
    const map = this.#maps.get(keyspace)
    if (map !== undefined) return map
    const { view, missingKeyspaceHint } = this.#parts.port
    if (this.#maps.size === 0 && !view.isLoaded()) {
      throw new FleetError(
        'catalog_unavailable',
        'the router has no shard map yet and the catalog does not answer',
        {
          hint: 'bring the catalog back; the router goes on by itself',
        },
      )
    }
    throw new FleetError('not_found', `there is no keyspace ${JSON.stringify(keyspace)}`, {
      hint:
        missingKeyspaceHint?.() ??
        'create it: fleetshard keyspace create, or create a shard without naming a keyspace for the default one',
    })
  }

  /** All maps. */
  all(): Iterable<ShardMap> {
    return this.#maps.values()
  }

  /** The shard's record in the map as it is now; null when it is gone. */
  shard({ keyspace, id }: Pick<ShardRecord, 'keyspace' | 'id'>): ShardRecord | null {
    return this.#maps.get(keyspace)?.shards.get(id) ?? null
  }

  /** Calls the listener after maps were taken or went; the returned function ends that. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Resolves as soon as the keyspace's map is newer than that one, or after `withinMs`. */
  newerThan(map: ShardMap, withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const isNewer = (): boolean => (this.#maps.get(map.snapshot.keyspace.name)?.epoch ?? 0) > map.epoch
      const finish = (): void => {
        stop()
        this.#waiting.delete(look)
        resolve()
      }
      const look = (): void => {
        if (isNewer()) finish()
      }
      const stop = this.#parts.clock.after(withinMs, finish)
      this.#waiting.add(look)
      look()
    })
  }

  [Symbol.dispose](): void {
    this.#unsubscribe()
    this.#stopBuild?.()
  }

  #schedule(): void {
    if (this.#stopBuild !== null) return
    const delayMs = Math.max(0, this.#notBeforeMs - this.#parts.clock.monotonic())
    this.#stopBuild = this.#parts.clock.after(delayMs, () => {
      this.#stopBuild = null
      this.#build()
    })
  }

  #build(): void {
    const begun = this.#parts.clock.monotonic()
    const names = this.#dirty
    this.#dirty = new Set()
    const { keyspaces } = this.#parts.port.view.current()
    for (const name of names) this.#take(name, keyspaces.get(name))
    const now = this.#parts.clock.monotonic()
    this.#notBeforeMs = now + (now - begun) * (1 / buildShareMax - 1)
    for (const look of this.#waiting) look()
    for (const listener of this.#listeners) listener()
  }

  #take(name: KeyspaceName, snapshot: KeyspaceSnapshot | undefined): void {
    if (snapshot === undefined) {
      if (this.#maps.delete(name)) this.#parts.onGone(name)
      return
    }
    const known = this.#maps.get(name)
    if (known !== undefined && !mayReplace(known.snapshot, snapshot)) {
      this.#parts.log.warn(
        { keyspace: name, epoch: snapshot.epoch, known: known.epoch },
        'an older map was not taken',
      )
      return
    }
    try {
      const map = buildShardMap(snapshot)
      this.#maps.set(name, map)
      this.#parts.onMap(map, known ?? null)
      this.#parts.port.acknowledge(name, map.epoch)
    } catch (error) {
      this.#parts.log.error({ keyspace: name, err: error }, 'a shard map cannot be built; the old one stays')
    }
  }
}
