// Rows of several servers walked through together, in the order of their keys.
import type { ComparedRow, ComparedTable, RowReader } from '../../engine/mod.ts'

/** A server that is compared, by the name of its shard. */
export interface Place {
  readonly shard: string
  readonly reader: RowReader
}

/** One key, and the rows that have it; which shard each lies on. */
export interface KeyRows {
  readonly key: string
  readonly rows: readonly { readonly shard: string; readonly row: ComparedRow }[]
}

/** Every key of all places, once, in the order of its bytes. */
export async function* mergedRows(table: ComparedTable, places: readonly Place[]): AsyncIterable<KeyRows> {
  const walks = await Promise.all(
    places.map(async ({ shard, reader }) => {
      const walk = new Walk(shard, reader.rows(table, { isOrdered: true })[Symbol.asyncIterator]())
      await walk.fill()
      return walk
    }),
  )
  for (;;) {
    let least: string | null = null
    for (const { head } of walks) {
      if (head !== null && (least === null || compareBytes(head.key, least) < 0)) least = head.key
    }
    if (least === null) return
    const rows: { readonly shard: string; readonly row: ComparedRow }[] = []
    for (const walk of walks) {
      for (let { head } = walk; head?.key === least; { head } = walk) {
        rows.push({ shard: walk.shard, row: head })
        walk.next()
        if (walk.head === null) await walk.fill()
      }
    }
    yield { key: least, rows }
  }
}

/** Where one server's rows have been walked to. */
class Walk {
  readonly shard: string
  readonly #parts: AsyncIterator<readonly ComparedRow[]>
  #part: readonly ComparedRow[] = []
  #at = 0

  constructor(shard: string, parts: AsyncIterator<readonly ComparedRow[]>) {
    this.shard = shard
    this.#parts = parts
  }

  /** Null at the end of a part, and of all. */
  get head(): ComparedRow | null {
    return this.#part[this.#at] ?? null
  }

  next(): void {
    this.#at += 1
  }

  /** Fetches until there is a head, or nothing more. */
  async fill(): Promise<void> {
    while (this.head === null) {
      const next = await this.#parts.next()
      if (next.done === true) return
      this.#part = next.value
      this.#at = 0
    }
  }
}

/** Order of the UTF-8 bytes of two texts, which is not that of JavaScript where surrogates are. */
export function compareBytes(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let index = 0; index < length; index += 1) {
    const [left, right] = [a.charCodeAt(index), b.charCodeAt(index)]
    if (left !== right) return rank(left) - rank(right)
  }
  return a.length - b.length
}

/** Surrogates stand for what lies beyond all other units. */
const rank = (unit: number): number => (unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit)
