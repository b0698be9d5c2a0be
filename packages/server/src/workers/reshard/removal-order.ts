// The order in which moved rows are removed from a source: a table after those that refer to it. Foreign keys include the
// shard key, so what refers to a row that has moved has moved as well.
import type { MovedTable } from '../../engine/mod.ts'

/** Tables in that order, and the names of those for which there is none, since foreign keys go round. */
export function removalOrder(tables: readonly MovedTable[]): {
  readonly ordered: readonly MovedTable[]
  readonly circular: readonly string[]
} {
  const ordered: MovedTable[] = []
  let left = tables
  for (;;) {
    const names = new Set(left.map(({ name }) => name))
    const free = left.filter(({ referencedBy }) => !referencedBy.some((name) => names.has(name)))
    if (free.length === 0) return { ordered, circular: left.map(({ name }) => name) }
    ordered.push(...free)
    left = left.filter((table) => !free.includes(table))
  }
}
