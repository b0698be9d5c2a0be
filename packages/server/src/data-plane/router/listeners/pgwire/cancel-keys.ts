// The keys that clients get for cancelling, and whom they stand for.
import { timingSafeEqual } from 'node:crypto'

/** Who can be asked to give up what runs. */
export interface Cancellable {
  cancel(): void
}

/** A key of BackendKeyData. */
export interface CancelKey {
  readonly processId: number
  readonly secretKey: Buffer
}

/** Secret bytes in protocol 3.0, and from 3.2 on. */
const secretBytes = { short: 4, long: 32 }
const processIdMax = 0x7fffffff

/** All keys that are valid now. */
export class CancelKeys {
  readonly #random: (bytes: number) => Buffer
  readonly #known = new Map<number, { readonly secretKey: Buffer; readonly target: Cancellable }>()
  #last = 0

  constructor(random: (bytes: number) => Buffer) {
    this.#random = random
  }

  give(target: Cancellable, protocol: { readonly minor: number }): CancelKey {
    do this.#last = this.#last >= processIdMax ? 1 : this.#last + 1
    while (this.#known.has(this.#last))
    const secretKey = this.#random(protocol.minor >= 2 ? secretBytes.long : secretBytes.short)
    this.#known.set(this.#last, { secretKey, target })
    return { processId: this.#last, secretKey }
  }

  forget({ processId }: CancelKey): void {
    this.#known.delete(processId)
  }

  /** Cancels what the owner of the key runs; for a key that is not valid it does nothing, as Postgres, and is false. */
  cancel(processId: number, secretKey: Uint8Array): boolean {
    const known = this.#known.get(processId)
    if (known === undefined || known.secretKey.length !== secretKey.length) return false
    if (!timingSafeEqual(known.secretKey, secretKey)) return false
    known.target.cancel()
    return true
  }
}
