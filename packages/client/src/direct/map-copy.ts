// The copy of the shard map on disk, by which a client of direct mode starts while no router answers. It has the form in
// which routers tell the map, and no passwords.
import { open, readFile, rename, stat, utimes } from 'node:fs/promises'
import { FleetError, toFleetError, type Clock, type KeyspaceSnapshot } from '@fleetshard/core'
import { objectOf, parseJson, textOrNullAt } from '../json-reader.ts'
import { snapshotOf, topologyOf } from '../topology/snapshot.ts'
import type { CopiedMap, MapCopy } from '../topology/map-source.ts'

/** Changes are written this long after the first of them. */
const saveAfterMs = 500
/** Largest file that is read, in bytes: about a thousand shards with 256 vnodes each, three times over. */
const fileBytesMax = 64 * 1024 * 1024

/** What the copy is made of. */
export interface MapCopyFileParts {
  readonly path: string
  readonly clock: Clock
  /** What is to be copied, asked at the moment of writing. */
  readonly snapshot: () => KeyspaceSnapshot
  /** The uuid of the cluster; null as long as nobody has told it. */
  readonly cluster: () => string | null
}

/** The file with the copy. */
export class MapCopyFile implements MapCopy {
  readonly #parts: MapCopyFileParts
  /** Of the copy that was loaded. */
  #cluster: string | null = null
  #stop: (() => void) | null = null
  #writing: Promise<void> = Promise.resolve()

  constructor(parts: MapCopyFileParts) {
    this.#parts = parts
  }

  get cluster(): string | null {
    return this.#cluster
  }

  async load(): Promise<CopiedMap | null> {
    const { path } = this.#parts
    let text: string
    let savedAtMs: number
    try {
      const { size, mtimeMs } = await stat(path)
      if (size > fileBytesMax) throw unusable(path)
      text = await readFile(path, 'utf8')
      savedAtMs = mtimeMs
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
      throw error
    }
    try {
      const copy = objectOf(parseJson(text), 'copy')
      const snapshot = snapshotOf(copy['topology'])
      this.#cluster = textOrNullAt(copy, 'cluster')
      return { snapshot, savedAtMs }
    } catch (cause) {
      throw unusable(path, cause)
    }
  }

  /** @throws FleetError `invalid_request` when the file cannot be written */
  async save(): Promise<void> {
    const { path } = this.#parts
    try {
      await this.#write()
    } catch (cause) {
      throw new FleetError(
        'invalid_request',
        `the map cannot be copied to ${path}: ${toFleetError(cause).message}`,
        {
          hint: 'let mapCopy be the path of a file in a folder that this process may write to',
          cause,
        },
      )
    }
  }

  changed(): void {
    this.#stop ??= this.#parts.clock.after(saveAfterMs, () => {
      this.#stop = null
      // The copy of before stays, and its age tells how old it is.
      this.#write().catch(() => undefined)
    })
  }

  confirmed(): void {
    const now = new Date(this.#parts.clock.now())
    utimes(this.#parts.path, now, now).catch(() => undefined)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stop !== null) {
      this.#stop()
      this.#stop = null
      await this.#write().catch(() => undefined)
    }
    await this.#writing.catch(() => undefined)
  }

  /** One at a time; a reader sees the file before or after. */
  #write(): Promise<void> {
    const { path, snapshot, cluster } = this.#parts
    this.#writing = this.#writing
      .catch(() => undefined)
      .then(async () => {
        const text = JSON.stringify({ cluster: cluster(), topology: topologyOf(snapshot()) })
        const temporary = `${path}.${String(process.pid)}.new`
        const file = await open(temporary, 'w', 0o600)
        try {
          await file.writeFile(text)
          await file.sync()
        } finally {
          await file.close()
        }
        await rename(temporary, path)
      })
    return this.#writing
  }
}

const unusable = (path: string, cause?: unknown): FleetError =>
  new FleetError('corrupt_record', `the copy of the shard map at ${path} cannot be read`, {
    hint: 'delete the file; it is written again as soon as a router answers',
    cause,
  })
