// The grammar of Postgres in this process: loaded when direct mode is first used, never by http mode.
import { setFlagsFromString } from 'node:v8'
import type { Analysis } from '@fleetshard/routing/plan'

/** Flags that keep the grammar with the baseline compiler: the optimizing one takes hundreds of megabytes for it. */
const BASELINE = ['wasm-tier-up', 'wasm-dynamic-tiering'] as const

/** Loads it; the function analyses one text, in 15 to 115 µs, and never throws. */
export async function loadAnalyser(): Promise<(text: string) => Promise<Analysis>> {
  const { analyseText, loadGrammar } = await import('@fleetshard/routing/plan/grammar')
  // What else the process compiles is none of our business, so the flags are put back.
  for (const flag of BASELINE) setFlagsFromString(`--no-${flag}`)
  try {
    await loadGrammar()
  } finally {
    for (const flag of BASELINE) setFlagsFromString(`--${flag}`)
  }
  return (text) => Promise.resolve(analyseText(text))
}
