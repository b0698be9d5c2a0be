// What loading the program leaves behind: sources, code that ran once, half-filled pages. A server that has little to do
// would keep it for good, since the engine collects old memory only while new memory is asked for.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** How the engine's own collection is called. */
type Collect = (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void

/** Gives it back to the system. Blocks for a tenth of a second or so: to be called once, when a server has started. */
export function giveBackStartupMemory(): void {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  if (isCollect(collect)) collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
  setFlagsFromString('--no-expose-gc')
}

/** False on an engine that does not offer it. */
function isCollect(found: unknown): found is Collect {
  return typeof found === 'function'
}
