// Randomness that a seed repeats.

/** A generator of 32-bit numbers (mulberry32), and what is drawn with it. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** Any of 2^32 numbers. */
  uint32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }

  /** From 0 up to and without `end`; 0 when `end` is 0. */
  below(end: number): number {
    return end <= 0 ? 0 : this.uint32() % end
  }

  chance(part: number): boolean {
    return this.uint32() < part * 2 ** 32
  }

  /** One of the values. @throws Error when there is none */
  pick<T>(values: readonly T[]): T {
    const picked = values[this.below(values.length)]
    if (picked === undefined) throw new Error('nothing to pick from')
    return picked
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)))
  }
}
