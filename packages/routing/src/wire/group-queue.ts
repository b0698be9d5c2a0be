// The groups of one connection that wait for their answers, oldest first.
import type { GroupSink } from './types.ts'

const roomMin = 16

/** First in, first out, in a ring that grows by doubling; the owner bounds its length. */
export class GroupQueue {
  #ring: (GroupSink | undefined)[] = Array.from({ length: roomMin })
  #first = 0
  #length = 0

  get length(): number {
    return this.#length
  }

  /** The oldest, or undefined. */
  get head(): GroupSink | undefined {
    return this.#ring[this.#first]
  }

  push(sink: GroupSink): void {
    if (this.#length === this.#ring.length) this.#grow()
    this.#ring[(this.#first + this.#length) & (this.#ring.length - 1)] = sink
    this.#length += 1
  }

  shift(): GroupSink | undefined {
    const sink = this.#ring[this.#first]
    if (sink === undefined) return undefined
    this.#ring[this.#first] = undefined
    this.#first = (this.#first + 1) & (this.#ring.length - 1)
    this.#length -= 1
    return sink
  }

  #grow(): void {
    const room = this.#ring.length
    const ring: (GroupSink | undefined)[] = Array.from({ length: room * 2 })
    for (let index = 0; index < room; index += 1) ring[index] = this.#ring[(this.#first + index) & (room - 1)]
    this.#ring = ring
    this.#first = 0
  }
}
