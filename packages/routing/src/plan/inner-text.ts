// The statement inside a PREPARE, DECLARE or EXPLAIN, as text.
import { Kind, Scanner } from './lexer/scanner.ts'

/** Options of EXPLAIN without parentheses. */
const explainOptions = new Set(['analyze', 'analyse', 'verbose'])

/** What follows the first AS of a PREPARE, the first FOR of a DECLARE, the options of an EXPLAIN. */
export function innerStatementOf(text: string, behind: 'as' | 'for' | 'explain'): string {
  const scanner = new Scanner(text, true)
  let depth = 0
  let first = true
  for (;;) {
    const kind = scanner.next()
    if (kind === Kind.end) return ''
    if (kind === Kind.comment) continue
    const token = text.slice(scanner.start, scanner.end).toLowerCase()
    if (token === '(') {
      if (behind === 'explain' && depth === 0 && !isOptions(text, scanner.start))
        return text.slice(scanner.start)
      depth += 1
    } else if (token === ')') depth -= 1
    else if (depth > 0) continue
    else if (behind !== 'explain') {
      if (kind === Kind.word && token === behind) return text.slice(scanner.end).trimStart()
    } else if (!first && !explainOptions.has(token)) return text.slice(scanner.start)
    first = false
  }
}

/** Whether parentheses behind EXPLAIN hold options: the other thing they may hold is a query. */
function isOptions(text: string, from: number): boolean {
  const scanner = new Scanner(text.slice(from), true)
  for (;;) {
    const kind = scanner.next()
    const token = scanner.text.slice(scanner.start, scanner.end).toLowerCase()
    if (token === '(' || kind === Kind.comment) continue
    return kind === Kind.word && !['select', 'with', 'values', 'table'].includes(token)
  }
}
