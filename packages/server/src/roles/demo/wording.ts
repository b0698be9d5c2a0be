// Numbers and bars as the demo prints them.

/** `158,398` */
export function counted(count: number): string {
  return count.toLocaleString('en-US')
}

/** `3.2 s`, `48 ms`, `0.7 ms` */
export function timed(ms: number): string {
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(1)} s`
  return ms >= 10 ? `${ms.toFixed(0)} ms` : `${ms.toFixed(1)} ms`
}

/** Events a second, a whole number. */
export function rateOf(count: number, ms: number): number {
  return Math.round((count / Math.max(ms, 1)) * 1_000)
}

/** `in 3.2 s, 49,499 rows/s` */
export function paced(count: number, ms: number, unit: string): string {
  return `in ${timed(ms)}, ${counted(rateOf(count, ms))} ${unit}/s`
}

/** Seconds with three decimals, for the JSON result. */
export function secondsOf(ms: number): number {
  return Math.round(ms) / 1_000
}

/** A bar of up to `cells` blocks for a part of a whole. */
export function bar(part: number, whole: number, cells: number): string {
  const filled = whole === 0 ? 0 : Math.round((part / whole) * cells)
  return '█'.repeat(filled) + '░'.repeat(cells - filled)
}

/** The value below which that share of the sorted numbers lies; 0 of none. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}
