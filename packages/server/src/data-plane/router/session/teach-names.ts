// Statements of SQL and of the protocol have one set of names. In keyspaces of one shard a server runs SQL's EXECUTE and
// PREPARE: what the client has prepared by the protocol its connection learns by the client's name first, and the
// session stays on that connection from then on.
import { writeClose, writeParse } from '@fleetshard/routing/pgwire'
import type { KnownStatement } from '@fleetshard/routing/plan'
import { step } from './answer.ts'
import { connectFor } from './connect.ts'
import { SaidByServer } from './errors.ts'
import type { ClientStatement } from './group-items.ts'
import type { GroupRunner } from './group-runner.ts'
import type { SessionState } from './session-state.ts'
import { keepsPrepared } from './sql-prepare.ts'

/** Inside of another command: EXPLAIN EXECUTE, CREATE TABLE AS EXECUTE. */
const executed = /\bexecute\s+("(?:[^"]|"")+"|[\w$\u0080-\uffff]+)/gi

/**
 * Names of prepared statements that a server must know for the statement. DEALLOCATE is the router's where it is alone
 * and the session has no connection of its own.
 */
function namesIn({ facts: { command }, text }: KnownStatement, isAlone: boolean): readonly string[] {
  switch (command.kind) {
    case 'prepare':
    case 'execute':
      return [command.name]
    case 'deallocate':
      return isAlone || command.name === null ? [] : [command.name]
    case 'explain':
    case 'ddl':
    case 'temporary':
      return [...text.matchAll(executed)].map(([, name = '']) =>
        name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name.toLowerCase(),
      )
    default:
      return []
  }
}

const nothing: readonly ClientStatement[] = []

/** Statements of the protocol that the statement speaks of, and that no server knows by their names yet. */
export function untaught(
  state: SessionState,
  known: KnownStatement | null,
  isAlone = true,
): readonly ClientStatement[] {
  if (known === null || state.statements.size === 0 || known.facts.command.kind === 'rows') return nothing
  if (keepsPrepared(state) || state.status === 'E') return nothing
  return namesIn(known, isAlone && !state.isBound).flatMap((name) => {
    const use = state.statements.get(name)
    return use === undefined || use.isOnServer ? [] : [use]
  })
}

/**
 * Makes the session's connection know them.
 * @throws SaidByServer, FleetError of the connection
 */
export async function teachNames(
  state: SessionState,
  runner: GroupRunner,
  known: KnownStatement | null,
  isAlone = true,
): Promise<void> {
  for (const use of untaught(state, known, isAlone)) {
    const { map } = state
    const held = await connectFor(state, { shard: null, map, isRepeatable: false, reads: null })
    state.bind()
    const { statement, name } = use
    const { answer, end } = await runner.run(held, {
      wantsTags: false,
      isHidden: true,
      encode: (out, groupEnd) => {
        // One that its client has given up, or has never been told of, may be there.
        writeClose(out, 'S', name)
        writeParse(out, name, statement.text, statement.paramTypes)
        groupEnd(out)
        return [step.hide, step.hide]
      },
    })
    if (answer.error !== null) throw new SaidByServer(answer.error, answer.sqlstate)
    if (end.kind === 'lost') throw end.error
    use.isOnServer = true
  }
}
