// The file backend: a catalog that is a file, read and watched like any other and never written (static mode). What
// the file means is the decoder's affair. An invalid new version is logged, and what was read before stays.
import { FleetError, type Clock } from '@fleetshard/core'
import { FollowedFile, type FileVersion } from '@fleetshard/core/topology-file/disk'
import type { Logger } from '../../../runtime/mod.ts'
import type { CatalogStore, StoreWrite } from '../../store.ts'
import { createMemoryBackend } from '../memory/mod.ts'

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

/** See {@link FileBackend}. Does no I/O. */
export function createFileBackend(parts: FileBackendParts): FileBackend {
  return new PolledFile(parts)
}

class PolledFile implements FileBackend {
  readonly #parts: FileBackendParts
  readonly #memory: ReturnType<typeof createMemoryBackend>
  readonly #file: FollowedFile
  #entries: ReadonlyMap<string, string> = new Map()

  constructor(parts: FileBackendParts) {
    this.#parts = parts
    this.#memory = createMemoryBackend({ clock: parts.clock })
    const { path, clock, log, pollEveryMs } = parts
    this.#file = new FollowedFile({
      path,
      clock,
      pollEveryMs,
      take: (version) => {
        this.#take(version)
      },
      taken: () => {
        log.info({ path }, 'the topology file was read anew')
      },
      refused: ({ message, hint, code, cause }) => {
        log.error(
          { path, code, reason: message, hint, ...(code === 'internal' ? { err: cause } : {}) },
          'the new version of the topology file is not used; the one before it is still served',
        )
      },
    })
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

  load(): Promise<void> {
    return this.#file.load()
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#file.run(signal)
  }

  problem(): string | null {
    return this.#file.problem()
  }

  compact(): void {
    this.#memory.compact()
  }

  #take(version: FileVersion): void {
    const entries = this.#parts.decode(version)
    const writes = writesBetween(this.#entries, entries)
    this.#entries = entries
    this.#memory.publish(writes)
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
