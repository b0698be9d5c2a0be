// The file backend: a catalog that is a file, read and watched like any other and never written (static mode). What
// the file means is the decoder's affair. Changes are found by looking: mounted volumes and network file systems tell
// of none. An invalid new version is logged, and what was read before stays.
import { FleetError, toFleetError, type Clock } from '@fleetshard/core'
import type { Logger } from '../../../runtime/mod.ts'
import type { CatalogStore, StoreWrite } from '../../store.ts'
import { createMemoryBackend } from '../memory/mod.ts'
import { lookAt, readVersion, type FileVersion } from './look.ts'

/** What a file says, as the catalog's values by key. @throws FleetError `invalid_config` for what is not valid */
export type FileDecoder = (version: FileVersion) => ReadonlyMap<string, string>

/** What the backend is made of. */
export interface FileBackendParts {
  readonly path: string
  readonly clock: Clock
  readonly log: Logger
  readonly decode: FileDecoder
  /** How often the file is looked at. Default 500 ms. */
  readonly pollEveryMs?: number
}

/** A file as a catalog. */
export interface FileBackend {
  /** A handle that reads and watches, and refuses the rest with `catalog_read_only`. */
  open(): CatalogStore
  /** The first reading; before it the store is empty. @throws FleetError `invalid_config` */
  load(): Promise<void>
  /** Takes changes of the file until the signal aborts. Never rejects. */
  run(signal: AbortSignal): Promise<void>
  /** Why the file as it is now is not what is served; null when it is. */
  problem(): string | null
  /** Forgets the history, as other stores do by themselves. */
  compact(): void
}

const pollEveryMsDefault = 500

/** See {@link FileBackend}. Does no I/O. */
export function createFileBackend(parts: FileBackendParts): FileBackend {
  return new PolledFile(parts)
}

class PolledFile implements FileBackend {
  readonly #parts: FileBackendParts
  readonly #memory: ReturnType<typeof createMemoryBackend>
  #entries: ReadonlyMap<string, string> = new Map()
  /** The text behind the entries. */
  #text: string | null = null
  /** The look of the file when it was last read, whatever came of it. */
  #read: string | null = null
  /** A look that was new last time: the file is read when it has stayed so. */
  #changing: string | null = null
  #problem: string | null = null

  constructor(parts: FileBackendParts) {
    this.#parts = parts
    this.#memory = createMemoryBackend({ clock: parts.clock })
  }

  open(): CatalogStore {
    const store = this.#memory.open()
    const refuse = (): Promise<never> => Promise.reject(readOnly(this.#parts.path))
    return {
      read: (prefix, signal) => store.read(prefix, signal),
      watch: (prefix, from, signal) => store.watch(prefix, from, signal),
      commit: refuse,
      lease: refuse,
      [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    }
  }

  async load(): Promise<void> {
    const { path } = this.#parts
    this.#read = await lookAt(path)
    this.#take(await readVersion(path))
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, pollEveryMs = pollEveryMsDefault } = this.#parts
    while (!signal.aborted) {
      await clock.sleep(pollEveryMs, signal).catch(() => undefined)
      if (!signal.aborted) await this.#poll()
    }
  }

  problem(): string | null {
    return this.#problem
  }

  compact(): void {
    this.#memory.compact()
  }

  async #poll(): Promise<void> {
    const { path, log } = this.#parts
    const look = await lookAt(path)
    if (look === this.#read) return
    if (look !== this.#changing) {
      this.#changing = look
      return
    }
    const version = await readVersion(path).catch((error: unknown) => {
      this.#complain(error)
      return null
    })
    if (version === null) return
    // As it was before it was read: what is written meanwhile is a change to be found.
    this.#read = look
    try {
      if (this.#take(version)) log.info({ path }, 'the topology file was read anew')
      this.#problem = null
    } catch (error) {
      this.#complain(error)
    }
  }

  /** @returns false when nothing has changed */
  #take(version: FileVersion): boolean {
    if (version.text === this.#text) return false
    const entries = this.#parts.decode(version)
    const writes = writesBetween(this.#entries, entries)
    this.#text = version.text
    this.#entries = entries
    this.#memory.publish(writes)
    return true
  }

  #complain(error: unknown): void {
    const { message, hint, code } = toFleetError(error)
    if (message === this.#problem) return
    this.#problem = message
    this.#parts.log.error(
      { path: this.#parts.path, code, reason: message, hint, ...(code === 'internal' ? { err: error } : {}) },
      'the new version of the topology file is not used; the one before it is still served',
    )
  }
}

function writesBetween(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): readonly StoreWrite[] {
  const gone = [...before.keys()].filter((key) => !after.has(key))
  const put = [...after].filter(([key, value]) => before.get(key) !== value)
  return [
    ...gone.map((key): StoreWrite => ({ kind: 'delete', key })),
    ...put.map(([key, value]): StoreWrite => ({ kind: 'put', key, value })),
  ]
}

function readOnly(path: string): FleetError {
  return new FleetError('catalog_read_only', `the topology comes from the file ${path}, which is only read`, {
    hint: 'change the file; it is read again by itself',
  })
}
