// From a text to its analysis, by the grammar of Postgres as WebAssembly. Runs in the parser thread.
import { hasSqlDetails, loadModule, parseSync } from 'libpg-query'
import type { Analysis } from '../facts.ts'
import { analyseTree } from './analyse.ts'

/** Loads the grammar; to be awaited once before `analyseText`. */
export const loadGrammar = (): Promise<void> => loadModule()

/** Analyses one text; never throws. */
export function analyseText(text: string): Analysis {
  try {
    return analyseTree(parseSync(text), text)
  } catch (error) {
    if (hasSqlDetails(error) && error.sqlDetails !== undefined) {
      const { message, cursorPosition } = error.sqlDetails
      return { kind: 'syntax', message, position: cursorPosition + 1 }
    }
    // What is left is an overflowing stack, of the grammar or of JSON.
    return { kind: 'too-complex' }
  }
}
