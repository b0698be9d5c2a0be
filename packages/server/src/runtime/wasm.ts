// WebAssembly in this process stays with the baseline compiler. V8's optimizing one takes hundreds of megabytes for
// the grammar of Postgres, again for each thread, and parses no faster for it (docs/adr/0004).
import { setFlagsFromString } from 'node:v8'

/** To be called before a WebAssembly module is compiled. Idempotent; concerns the whole process. */
export function useBaselineWasm(): void {
  setFlagsFromString('--no-wasm-tier-up')
  setFlagsFromString('--no-wasm-dynamic-tiering')
}
