// A Query of the simple protocol as work: one statement or several, which are one implicit transaction.
import { FleetError } from '@fleetshard/core'
import { writeQuery } from '@fleetshard/routing/pgwire'
import type { KnownStatement, LexedStatement } from '@fleetshard/routing/plan'
import { ownCommandOf } from './effects.ts'
import type { Work } from './work.ts'

/** A statement of a Query that is known. */
export interface QueryStatement {
  readonly lexed: LexedStatement
  readonly known: KnownStatement
}

/**
 * The Query as work for a server.
 * @throws FleetError `statement_refused` for several statements of which the router answers one itself
 */
export function queryWork(text: string, statements: readonly QueryStatement[]): Work {
  if (statements.length > 1) {
    const own = statements.find(({ known }) => ownCommandOf(known.facts.command) !== null)
    if (own !== undefined) {
      throw new FleetError(
        'statement_refused',
        'a setting of the router among several statements of one query',
        {
          hint: 'send it as a query of its own',
        },
      )
    }
  }
  return {
    uses: statements.map(({ lexed, known }) => ({
      known,
      text: lexed.text,
      literals: lexed.literals,
      hint: lexed.hint,
      bind: null,
      types: [],
      wire: null,
    })),
    executed: statements.map(({ lexed, known }) => ({ known, text: lexed.text })),
    isPlain: statements.length === 1,
    isFresh: true,
    fingerprint: statements[0]?.lexed.key ?? '',
    group: () => ({
      wantsTags: statements.length > 1 || statements[0]?.known.facts.command.kind !== 'rows',
      encode(out) {
        writeQuery(out, text)
        return []
      },
    }),
  }
}
