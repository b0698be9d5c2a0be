// Follows one file by looking at it: mounted volumes and network file systems tell of no changes. What a version means
// is its reader's affair; one that the reader does not take is complained about once, and looked at no more.
import type { Clock } from '../../clock.ts'
import { toFleetError, type FleetError } from '../../errors/fleet-error.ts'
import type { FileVersion } from '../versions.ts'
import { lookAt, readVersion } from './look.ts'

/** What is followed, and for whom. */
export interface FollowedFileParts {
  readonly path: string
  readonly clock: Clock
  /** How often the file is looked at. Default 500 ms. */
  readonly pollEveryMs?: number | undefined
  /** A version with another text than the one before. @throws FleetError when it is not taken */
  readonly take: (version: FileVersion) => void
  /** A version after the first was taken. */
  readonly taken?: () => void
  /** Why the file as it is now is not what was taken last; told once for each reason. */
  readonly refused?: (error: FleetError) => void
}

const pollEveryMsDefault = 500

/** One file as it changes. Does no I/O until it is loaded. */
export class FollowedFile {
  readonly #parts: FollowedFileParts
  /** The text that was taken last. */
  #text: string | null = null
  /** The look of the file when it was last read, whatever came of it. */
  #read: string | null = null
  /** A look that was new last time: the file is read when it has stayed so. */
  #changing: string | null = null
  #problem: string | null = null

  constructor(parts: FollowedFileParts) {
    this.#parts = parts
  }

  /** The first reading. @throws FleetError `invalid_config`, and what `take` throws */
  async load(): Promise<void> {
    const { path } = this.#parts
    this.#read = await lookAt(path)
    this.#take(await readVersion(path))
  }

  /** Takes changes of the file until the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, pollEveryMs = pollEveryMsDefault } = this.#parts
    while (!signal.aborted) {
      await clock.sleep(pollEveryMs, signal).catch(() => undefined)
      if (!signal.aborted) await this.#poll()
    }
  }

  /** Why the file as it is now is not what was taken last; null when it is. */
  problem(): string | null {
    return this.#problem
  }

  async #poll(): Promise<void> {
    const { path, taken } = this.#parts
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
      if (this.#take(version)) taken?.()
      this.#problem = null
    } catch (error) {
      this.#complain(error)
    }
  }

  /** @returns false when nothing has changed */
  #take(version: FileVersion): boolean {
    if (version.text === this.#text) return false
    this.#parts.take(version)
    this.#text = version.text
    return true
  }

  #complain(error: unknown): void {
    const failure = toFleetError(error)
    if (failure.message === this.#problem) return
    this.#problem = failure.message
    this.#parts.refused?.(failure)
  }
}
