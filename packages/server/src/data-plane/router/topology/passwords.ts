// The passwords of nodes: asked for once, kept, and asked for again when a server refuses one. Those of the map are
// fetched before anybody needs them, since the catalog may be away when somebody does.
import { toFleetError, type Clock, type NodeRecord } from '@fleetshard/core'
import type { RouterPort } from '../../../catalog/router-port.ts'

const catalogPrefix = 'catalog:'
/** Pause after the catalog could not be asked. */
const retryMs = 1_000

/** A login by password, or by none. */
interface PasswordLogin {
  readonly user: string
  readonly password: string | null
}

/** Passwords by secretRef. */
export class Passwords {
  readonly #port: RouterPort
  readonly #clock: Clock
  readonly #readOther: (secretRef: string, signal: AbortSignal) => Promise<string>
  readonly #onNew: () => void
  readonly #known = new Map<string, string>()
  readonly #wanted = new Set<string>()
  #wake: () => void = () => undefined

  /** @param parts.seed passwords by their name in the catalog, of an earlier run */
  constructor(parts: {
    port: RouterPort
    clock: Clock
    readOther: (secretRef: string, signal: AbortSignal) => Promise<string>
    onNew: () => void
    seed: Readonly<Record<string, string>>
  }) {
    this.#port = parts.port
    this.#clock = parts.clock
    this.#readOther = parts.readOther
    this.#onNew = parts.onNew
    for (const [name, password] of Object.entries(parts.seed)) this.#known.set(catalogPrefix + name, password)
  }

  /** The login that a node's record stands for. @throws as `get` */
  async loginOf({ user, secretRef }: NodeRecord, signal: AbortSignal): Promise<PasswordLogin> {
    return { user, password: secretRef === null ? null : await this.get(secretRef, signal) }
  }

  /** @throws FleetError `not_found`, `catalog_unavailable` */
  async get(secretRef: string, signal: AbortSignal): Promise<string> {
    const known = this.#known.get(secretRef)
    if (known !== undefined) return known
    const password = secretRef.startsWith(catalogPrefix)
      ? await this.#port.secret(secretRef.slice(catalogPrefix.length), signal)
      : await this.#readOther(secretRef, signal)
    this.#known.set(secretRef, password)
    if (secretRef.startsWith(catalogPrefix)) this.#onNew()
    return password
  }

  /** Nodes of the map: `run` fetches the passwords among them that the catalog has and we have not. */
  want(secretRefs: Iterable<string | null>): void {
    for (const ref of secretRefs) {
      if (ref?.startsWith(catalogPrefix) === true && !this.#known.has(ref)) this.#wanted.add(ref)
    }
    this.#wake()
  }

  /** Fetches what is wanted until the signal aborts, through outages of the catalog. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const onAbort = (): void => {
      this.#wake()
    }
    signal.addEventListener('abort', onAbort, { once: true })
    while (!signal.aborted) {
      const [ref] = this.#wanted
      if (ref === undefined) {
        await new Promise<void>((resolve) => (this.#wake = resolve))
        continue
      }
      try {
        await this.get(ref, signal)
        this.#wanted.delete(ref)
      } catch (error) {
        // What is not there, or sealed with a key that is not, is told to whoever needs it.
        const { code, retryable } = toFleetError(error)
        if (!retryable || code === 'secret_unavailable') this.#wanted.delete(ref)
        else await this.#clock.sleep(retryMs, signal).catch(() => undefined)
      }
    }
    signal.removeEventListener('abort', onAbort)
  }

  /** A server refused the password: it is asked for again next time, if there is anybody to ask. */
  refused(secretRef: string): void {
    if (this.#port.view.isLoaded()) this.#known.delete(secretRef)
  }

  /** Those of the catalog, by name, for the copy on disk. */
  fromCatalog(): Record<string, string> {
    const entries = [...this.#known].filter(([ref]) => ref.startsWith(catalogPrefix))
    return Object.fromEntries(entries.map(([ref, password]) => [ref.slice(catalogPrefix.length), password]))
  }
}
