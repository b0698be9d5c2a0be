// Keeps the shard map of one keyspace in step with the routers: a stream of changes, read anew when it breaks, and now
// and then compared with what another router says. Never takes an older map.
import {
  buildShardMap,
  FleetError,
  fromProblem,
  mayReplace,
  toFleetError,
  type Clock,
  type KeyspaceSnapshot,
  type ShardMap,
  type TableRecord,
} from '@fleetshard/core'
import { readEvents, type ServerEvent } from '../admin/events.ts'
import type { Routers } from '../http/routers.ts'
import { arrayAt, objectOf, parseJson, textAt, type JsonObject } from '../json-reader.ts'
import type { CopiedMap, MapCopy, MapSource } from './map-source.ts'
import { headOf, shardOf, snapshotOf, tableOf } from './snapshot.ts'

/** What a follower is made of. */
export interface FollowerParts {
  readonly routers: Routers
  readonly keyspace: string
  readonly clock: Clock
  /** Bounds each request for the whole map. */
  readonly timeoutMs: number
  /** Told after a map was taken in place of the one held before. */
  readonly onMap: (map: ShardMap, held: ShardMap | null) => void
  /** By which it starts while no router answers; null for none. */
  readonly copy?: MapCopy | null
}

/** A stream that brings nothing for so long is dead: heartbeats come every 15 seconds. */
const silentMsMax = 40_000
/** How often another router is asked whether it knows more. */
const repairEveryMs = 15_000
const pauseMsMin = 50
const pauseMsMax = 2_000

/** The map of one keyspace, live. */
export class TopologyFollower implements MapSource {
  readonly #parts: FollowerParts
  readonly #stop = new AbortController()
  readonly #waiting = new Set<() => void>()
  #map: ShardMap | null = null
  /** Wall time at which a router was last known to have that map from the catalog. */
  #confirmedAtMs = -Infinity
  /** How old its map was when the router told it last. */
  #routerAgeMs = 0
  #gone = false
  /** What the stream has told since the last whole state. */
  #draft: Draft | null = null
  #refreshing: Promise<void> | null = null
  #running: Promise<unknown> = Promise.resolve()

  constructor(parts: FollowerParts) {
    this.#parts = parts
  }

  /**
   * Loads the first map and follows from then on. While no router answers the copy is the first map, if there is one.
   * @throws FleetError `server_unreachable`, `not_found`; `corrupt_record`, `invalid_request` of the copy
   */
  async start(): Promise<void> {
    const { copy = null } = this.#parts
    try {
      await this.refresh()
      await copy?.save()
    } catch (error) {
      const copied = isAway(error) && copy !== null ? await copy.load() : null
      if (copied === null || copied.snapshot.keyspace.name !== this.#parts.keyspace) throw error
      this.#takeCopy(copied)
    }
    this.#running = Promise.all([this.#follow(), this.#repair()])
  }

  /** The map as it is now. @throws FleetError `not_found` when the keyspace is gone */
  map(): ShardMap {
    if (this.#map !== null && !this.#gone) return this.#map
    throw new FleetError('not_found', `there is no keyspace ${JSON.stringify(this.#parts.keyspace)} any more`)
  }

  ageMs(): number {
    return Math.max(0, this.#parts.clock.now() - this.#confirmedAtMs)
  }

  /** An answer told an epoch: if it is newer the map is read. */
  noteEpoch(epoch: number): void {
    if (this.#map !== null && epoch > this.#map.epoch) this.refresh().catch(() => undefined)
  }

  /** Reads the whole map from a router. Many calls are one. @throws FleetError as `start` */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#load().finally(() => {
      this.#refreshing = null
    })
    return this.#refreshing
  }

  /** Asks for a newer map at once; resolves when there is one, or after `withinMs`. */
  newerThan(map: ShardMap, withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        stop()
        this.#waiting.delete(look)
        resolve()
      }
      const look = (): void => {
        if (this.#map !== null && this.#map.epoch > map.epoch) finish()
      }
      const stop = this.#parts.clock.after(withinMs, finish)
      this.#waiting.add(look)
      look()
      if (this.#waiting.has(look)) void this.#refreshUntil(() => !this.#waiting.has(look))
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running
    await this.#parts.copy?.[Symbol.asyncDispose]()
  }

  #takeCopy({ snapshot, savedAtMs }: CopiedMap): void {
    this.#take(snapshot)
    this.#confirmedAtMs = savedAtMs
  }

  /** A router has told the map at hand, or that it still has it. */
  #confirm(): void {
    this.#confirmedAtMs = this.#parts.clock.now() - this.#routerAgeMs
  }

  /** A router may learn of the change later than the shard has told: it is asked again, and the others too. */
  async #refreshUntil(done: () => boolean): Promise<void> {
    while (!done() && !this.#stop.signal.aborted) {
      await this.refresh().catch(() => undefined)
      if (done()) return
      this.#parts.routers.rotate()
      await this.#pause(pauseMsMin)
    }
  }

  async #load(): Promise<void> {
    const { routers, keyspace, timeoutMs } = this.#parts
    const path = `/v1/topology?keyspace=${encodeURIComponent(keyspace)}`
    const limits = { signal: this.#stop.signal, timeoutMs }
    const { json } = await routers.call({ method: 'GET', path, repeat: {} }, limits)
    this.#takeTopology(objectOf(json, 'topology'))
  }

  #takeTopology(topology: JsonObject): void {
    const [only] = arrayAt(topology, 'keyspaces')
    this.#noteAge(topology)
    if (only !== undefined) this.#take(snapshotOf(only))
    else if (this.#map !== null) this.#gone = true
  }

  #noteAge({ map_age_ms: ageMs }: JsonObject): void {
    this.#routerAgeMs = typeof ageMs === 'number' && ageMs >= 0 ? ageMs : 0
    this.#confirm()
  }

  #take(offered: KeyspaceSnapshot): void {
    const held = this.#map
    if (!mayReplace(held?.snapshot ?? null, offered)) return
    if (held !== null && isSame(held.snapshot, offered) && !this.#gone) return
    const tables =
      held !== null && areSame(held.snapshot.tables, offered.tables) ? held.snapshot.tables : null
    const map = buildShardMap(tables === null ? offered : { ...offered, tables })
    this.#map = map
    this.#gone = false
    this.#parts.onMap(map, held)
    if (held !== null) this.#parts.copy?.changed()
    for (const look of this.#waiting) look()
  }

  /** Reads streams, one after the other, until the end. Never rejects. */
  async #follow(): Promise<void> {
    const { signal } = this.#stop
    let pauseMs = pauseMsMin
    while (!signal.aborted) {
      try {
        await this.#readStream(() => (pauseMs = pauseMsMin))
      } catch (error) {
        if (toFleetError(error).code === 'not_found') this.#gone = true
        this.#parts.routers.rotate()
      }
      await this.#pause(pauseMs)
      pauseMs = Math.min(pauseMs * 2, pauseMsMax)
    }
  }

  async #readStream(begun: () => void): Promise<void> {
    const { routers, keyspace, clock, timeoutMs } = this.#parts
    const path = `/v1/topology?keyspace=${encodeURIComponent(keyspace)}`
    const silence = new AbortController()
    const signal = AbortSignal.any([this.#stop.signal, silence.signal])
    const headers = { accept: 'text/event-stream' }
    const opened = await routers.open(
      { method: 'GET', path, headers, repeat: {} },
      { signal, timeoutMs },
      async (response) => {
        if (response.ok) return response
        throw fromProblem(response.status, parseJson(await response.text()))
      },
    )
    opened.unbound()
    let stop = (): void => undefined
    const heard = (): void => {
      stop()
      stop = clock.after(silentMsMax, () => {
        silence.abort()
      })
    }
    heard()
    try {
      this.#draft = null
      for await (const event of readEvents(watched(opened.value, heard))) {
        begun()
        this.#apply(event)
        this.#confirm()
      }
    } finally {
      stop()
      opened.close()
    }
  }

  #apply({ event, text }: ServerEvent): void {
    const body = objectOf(parseJson(text), 'event')
    if (event === 'snapshot') {
      this.#takeTopology(objectOf(body['topology'], 'topology'))
      this.#draft = this.#map === null ? null : new Draft(this.#map.snapshot)
      return
    }
    if (event === 'keyspace_removed') {
      this.#gone = true
      return
    }
    const draft = (this.#draft ??= new Draft(this.map().snapshot))
    if (!draft.apply(event, body)) return
    // Under modulo the order of the shards counts, and events do not tell it.
    if (draft.strategy === 'ring') this.#take(draft.snapshot())
    else this.refresh().catch(() => undefined)
  }

  /** A stream may be open and tell nothing new: its router may have lost the catalog. Another one is asked. */
  async #repair(): Promise<void> {
    const { routers, keyspace, timeoutMs } = this.#parts
    const path = `/v1/topology?vnodes=false&keyspace=${encodeURIComponent(keyspace)}`
    while (!this.#stop.signal.aborted) {
      await this.#pause(repairEveryMs)
      routers.rotate()
      try {
        const limits = { signal: this.#stop.signal, timeoutMs }
        const { json } = await routers.call({ method: 'GET', path, repeat: {} }, limits)
        const topology = objectOf(json, 'topology')
        const [only] = arrayAt(topology, 'keyspaces')
        if (only === undefined) continue
        const { epoch } = headOf(objectOf(only, 'keyspace')['keyspace'])
        this.noteEpoch(epoch)
        if (epoch !== this.#map?.epoch) continue
        this.#noteAge(topology)
        this.#parts.copy?.confirmed()
      } catch {
        // The stream, or the next statement, tells what is wrong.
      }
    }
  }

  #pause(delayMs: number): Promise<void> {
    return this.#parts.clock.sleep(delayMs, this.#stop.signal).catch(() => undefined)
  }
}

/** Nobody there knows better than a copy. */
const isAway = (error: unknown): boolean =>
  ['server_unreachable', 'deadline_exceeded', 'shutting_down'].includes(toFleetError(error).code)

/** The state that a stream's events build up; `keyspace` completes it. */
class Draft {
  readonly #shards: Map<string, KeyspaceSnapshot['shards'][number]>
  readonly #tables: Map<string, TableRecord>
  #head: Pick<KeyspaceSnapshot, 'keyspace' | 'epoch'>

  constructor(snapshot: KeyspaceSnapshot) {
    this.#shards = new Map(snapshot.shards.map((shard) => [shard.id, shard]))
    this.#tables = new Map(snapshot.tables.map((table) => [table.name, table]))
    this.#head = snapshot
  }

  /** True when the state is whole again. */
  apply(event: string, body: JsonObject): boolean {
    switch (event) {
      case 'shard': {
        const shard = shardOf(body['shard'])
        this.#shards.set(shard.id, shard)
        return false
      }
      case 'shard_removed':
        this.#shards.delete(textAt(body, 'id'))
        return false
      case 'table': {
        const table = tableOf(body['table'])
        this.#tables.set(table.name, table)
        return false
      }
      case 'table_removed':
        this.#tables.delete(textAt(body, 'name'))
        return false
      case 'keyspace':
        this.#head = headOf(body['keyspace'])
        return true
      default:
        // A newer router tells things that this version does not know.
        return false
    }
  }

  get strategy(): KeyspaceSnapshot['keyspace']['strategy'] {
    return this.#head.keyspace.strategy
  }

  snapshot(): KeyspaceSnapshot {
    const { keyspace, epoch } = this.#head
    return { keyspace, epoch, shards: [...this.#shards.values()], tables: [...this.#tables.values()] }
  }
}

const versionOf = ({ name, version, createdAt }: TableRecord): string =>
  `${name}\0${String(version)}\0${createdAt}`

/** True when nothing has changed between two lists of tables: what was planned by one holds for the other. */
function areSame(before: readonly TableRecord[], after: readonly TableRecord[]): boolean {
  if (before.length !== after.length) return false
  const known = new Set(before.map(versionOf))
  return after.every((table) => known.has(versionOf(table)))
}

function isSame(before: KeyspaceSnapshot, after: KeyspaceSnapshot): boolean {
  const versions = new Map(before.shards.map((shard) => [shard.id, shard.version]))
  return (
    before.epoch === after.epoch &&
    before.keyspace.version === after.keyspace.version &&
    before.keyspace.createdAt === after.keyspace.createdAt &&
    before.shards.length === after.shards.length &&
    after.shards.every(({ id, version }) => versions.get(id) === version) &&
    areSame(before.tables, after.tables)
  )
}

/** The bytes of an answer; `heard` is called for every piece, heartbeats included. */
function watched(response: Response, heard: () => void): ReadableStream<Uint8Array> {
  const { body } = response
  if (body === null) throw new FleetError('server_unreachable', 'the stream of the router has no body')
  return body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(piece, controller) {
        heard()
        controller.enqueue(piece)
      },
    }),
  )
}
