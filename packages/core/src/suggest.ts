// Did-you-mean: the nearest of the known words to one that is not known.

/** Words longer than this are not compared: nobody mistypes them by hand. */
const wordLengthMax = 64

/**
 * The known word nearest to `word` by edit distance (a swap of neighbours is one edit), or null when none is near
 * enough to be meant: more than a third of the letters differ.
 */
export function nearest(word: string, known: Iterable<string>): string | null {
  if (word.length > wordLengthMax) return null
  let best: string | null = null
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase(), bestDistance)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** `did you mean X?`, or undefined when nothing is near; `prefix` is what all names begin with, cut off before. */
export function didYouMean(word: string, known: Iterable<string>, prefix = ''): string | undefined {
  const found = nearest(word, known)
  return found === null ? undefined : `did you mean ${prefix}${found}?`
}

/** Optimal string alignment distance; stops early and answers `limit` when it cannot be less. */
function editDistance(left: string, right: string, limit: number): number {
  if (Math.abs(left.length - right.length) >= limit) return limit
  let beforeLast: number[] = []
  let last = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row]
    for (let column = 1; column <= right.length; column += 1) {
      const same = left[row - 1] === right[column - 1]
      let cost = Math.min(
        at(last, column) + 1,
        at(current, column - 1) + 1,
        at(last, column - 1) + (same ? 0 : 1),
      )
      const swapped =
        row > 1 && column > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1]
      if (swapped) cost = Math.min(cost, at(beforeLast, column - 2) + 1)
      current.push(cost)
    }
    beforeLast = last
    last = current
  }
  return Math.min(at(last, right.length), limit)
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY
}
