// The map of a topology file, for a client that works without any router: read once, and followed as a router follows
// it where the file has a path.
import { buildShardMap, FleetError, type Clock, type ShardMap } from '@fleetshard/core'
import { TopologyVersions, type Topology } from '@fleetshard/core/topology-file'
import { FollowedFile, type FileVersion } from '@fleetshard/core/topology-file/disk'
import type { MapSource } from '../topology/map-source.ts'

/** What a file's map is made of. */
export interface FileMapParts {
  /** A path, or the text of a file. */
  readonly topology: string
  /** The keyspace that the caller wants; null for whichever the file has. */
  readonly keyspace: string | null
  readonly clock: Clock
  /** Told after a map was taken in place of the one held before. */
  readonly onMap: (map: ShardMap, held: ShardMap | null) => void
  /** Told why a new version of the file is not used. */
  readonly onRefused: (error: FleetError) => void
}

/** How errors call a text that is no file. */
const textName = 'the topology'

/** The map of one topology file, with the passwords that the file holds. */
export class FileMap implements MapSource {
  readonly #parts: FileMapParts
  readonly #versions = new TopologyVersions()
  readonly #stop = new AbortController()
  readonly #waiting = new Set<() => void>()
  #keyspace: string | null
  #map: ShardMap | null = null
  #passwords: Topology['passwords'] = new Map()
  #gone = false
  #running: Promise<void> = Promise.resolve()

  constructor(parts: FileMapParts) {
    this.#parts = parts
    this.#keyspace = parts.keyspace
  }

  /** @throws FleetError `invalid_config` with line and column, `not_found` for a file of another keyspace */
  async start(): Promise<void> {
    const { topology, clock, onRefused } = this.#parts
    if (isText(topology)) {
      this.#take({ path: textName, text: topology, changedAtMs: 0 })
      return
    }
    const file = new FollowedFile({
      path: topology,
      clock,
      take: (version) => {
        this.#take(version)
      },
      refused: onRefused,
    })
    await file.load()
    this.#running = file.run(this.#stop.signal)
  }

  map(): ShardMap {
    if (this.#map !== null && !this.#gone) return this.#map
    throw this.#notFound('any more')
  }

  /** The file itself is what counts. */
  ageMs(): number {
    return 0
  }

  /** The file is looked at as often as makes sense already. */
  refresh(): Promise<void> {
    return Promise.resolve()
  }

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
    })
  }

  /** The password that the file holds under that secretRef; undefined where it holds none. */
  password(secretRef: string): string | undefined {
    return this.#passwords.get(secretRef)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  #take(version: FileVersion): void {
    const { snapshot, passwords } = this.#versions.take(version)
    const held = this.#map
    this.#keyspace ??= snapshot.keyspace.name
    // Under another name it is another keyspace, which nobody here has asked for.
    if (snapshot.keyspace.name !== this.#keyspace) {
      if (held === null) throw this.#notFound(`in ${version.path}, which has ${snapshot.keyspace.name}`)
      this.#gone = true
      return
    }
    const map = buildShardMap(snapshot)
    this.#passwords = passwords
    this.#gone = false
    this.#map = map
    this.#parts.onMap(map, held)
    for (const look of this.#waiting) look()
  }

  #notFound(where: string): FleetError {
    return new FleetError('not_found', `there is no keyspace ${JSON.stringify(this.#keyspace)} ${where}`)
  }
}

/** A text is a JSON object; no sensible path looks like one. */
const isText = (topology: string): boolean => /^\uFEFF?\s*\{/.test(topology)
