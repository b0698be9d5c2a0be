// Entry of the parser thread: takes statement texts, answers with their analysis.
import { parentPort } from 'node:worker_threads'
import type { Analysis } from '@fleetshard/routing/plan'
import { analyseText, loadGrammar } from '@fleetshard/routing/plan/grammar'

/** A text to analyse. */
export interface ParseRequest {
  readonly id: number
  readonly text: string
}

/** Answer to the request of that id. */
export interface ParseAnswer {
  readonly id: number
  readonly analysis: Analysis
}

await loadGrammar()
const port = parentPort
port?.on('message', (request: ParseRequest) => {
  port.postMessage({ id: request.id, analysis: analyseText(request.text) } satisfies ParseAnswer)
})
