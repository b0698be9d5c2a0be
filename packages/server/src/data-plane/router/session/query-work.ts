// A Query of the simple protocol as work: one statement or several, which are one implicit transaction.
import { FleetError } from '@fleetshard/core'
import { writeQuery, type WireWriter } from '@fleetshard/routing/pgwire'
import { withTraceparent, type KnownStatement, type LexedStatement } from '@fleetshard/routing/plan'
import type { ServerStatements } from '@fleetshard/routing/wire'
import type { AnswerStep } from './answer.ts'
import { ownCommandOf } from './effects.ts'
import type { Use } from './plan-use.ts'
import { lookupOf, writeOf } from './prepared-query.ts'
import type { Group } from './server-side.ts'
import type { SessionState } from './session-state.ts'
import { keepsPrepared } from './sql-prepare.ts'
import type { WireStatement, WireStatements } from './wire-statements.ts'
import type { Executed, InLane, Work } from './work.ts'

/** A statement of a Query that is known. */
export interface QueryStatement {
  readonly lexed: LexedStatement
  readonly known: KnownStatement
}

/** Commands of which nothing has to be found out once they are known. */
const plainCommands: ReadonlySet<string> = new Set(['rows', 'begin', 'commit', 'rollback'])

/** True for a statement that can be run, or answered, as it is. */
export const isPlain = ({ known }: QueryStatement): boolean => plainCommands.has(known.facts.command.kind)

/**
 * The Query as work for a server.
 * @throws FleetError `statement_refused` for several statements of which the router answers one itself
 */
export function queryWork(state: SessionState, text: string, statements: readonly QueryStatement[]): Work {
  if (statements.length > 1) {
    const own = statements.find(({ known: { facts } }) => {
      const command = ownCommandOf(facts.command)
      return command !== null && (command.kind !== 'deallocate' || keepsPrepared(state))
    })
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
  return new QueryWork(text, statements, state.environment.wireStatements)
}

const noSteps: readonly AnswerStep[] = []
const noTypes: readonly number[] = []

class QueryWork implements Work, Group {
  readonly uses: readonly Use[]
  readonly executed: readonly Executed[]
  readonly isPlain: boolean
  readonly fingerprint: string
  readonly wantsTags: boolean
  readonly #text: string
  readonly #only: LexedStatement | undefined
  readonly #texts: WireStatements

  constructor(text: string, statements: readonly QueryStatement[], texts: WireStatements) {
    const [first] = statements
    this.#text = text
    this.#texts = texts
    this.#only = statements.length === 1 ? first?.lexed : undefined
    this.uses = statements.map(useOf)
    this.executed = this.uses
    this.isPlain = statements.length === 1
    this.fingerprint = first?.lexed.key ?? ''
    this.wantsTags = statements.length > 1 || first?.known.facts.command.kind !== 'rows'
  }

  isFresh(): boolean {
    return true
  }

  group(_statements: ServerStatements, _parsed: unknown, traceparent: string | null): Group {
    if (traceparent === null) return this
    const text = withTraceparent(this.#text, traceparent)
    return {
      wantsTags: this.wantsTags,
      encode(out) {
        writeQuery(out, text)
        return noSteps
      },
    }
  }

  groupPrepared(statements: ServerStatements, parsed: WireStatement[]): Group | null {
    const [use] = this.uses
    const only = this.#only
    if (use === undefined || only === undefined) return null
    return writeOf(use.known, only, { statements, texts: this.#texts, parsed, query: this.#text })
  }

  groupInLane(statements: ServerStatements, texts: WireStatements): InLane {
    const [use] = this.uses
    const only = this.#only
    if (use === undefined || only === undefined) return { group: this, prepared: null }
    return lookupOf(use.known, only, { statements, texts }) ?? { group: this, prepared: null }
  }

  encode(out: WireWriter): readonly AnswerStep[] {
    writeQuery(out, this.#text)
    return noSteps
  }
}

function useOf({ lexed, known }: QueryStatement): Use {
  return {
    known,
    text: lexed.text,
    literals: lexed.literals,
    hint: lexed.hint,
    bind: null,
    types: noTypes,
    wire: null,
  }
}
