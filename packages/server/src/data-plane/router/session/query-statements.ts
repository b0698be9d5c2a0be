// What must be known of the statements of a Query before it can be run.
import { isFleetError } from '@fleetshard/core'
import type { GroupRunner } from './group-runner.ts'
import { askToParse, isTooDeep, unseenStatement } from './prepare.ts'
import type { QueryStatement } from './query-work.ts'
import type { SessionState } from './session-state.ts'

/** The statement where it is known already, else null. */
export function knownStatement(
  { environment }: SessionState,
  lexed: QueryStatement['lexed'],
): QueryStatement | null {
  const known = environment.statements.get(lexed.key)
  return known === null ? null : { lexed, known }
}

/** All statements of a Query. @throws SaidByServer for what a server finds wrong with it; FleetError of the parser */
export async function findStatements(
  state: SessionState,
  runner: GroupRunner,
  { text, lexed }: { readonly text: string; readonly lexed: readonly QueryStatement['lexed'][] },
): Promise<readonly QueryStatement[]> {
  const found: QueryStatement[] = []
  for (const one of lexed) {
    const known = knownStatement(state, one)
    found.push(known ?? { lexed: one, known: await load(state, runner, { text, lexed: one }) })
  }
  return found
}

async function load(
  state: SessionState,
  runner: GroupRunner,
  { text, lexed }: { readonly text: string; readonly lexed: QueryStatement['lexed'] },
): Promise<QueryStatement['known']> {
  try {
    return await state.cancellation.until(state.environment.statements.loadLexed(lexed))
  } catch (error) {
    if (isTooDeep(error) && state.map.owners.length <= 1) return unseenStatement(state, text)
    if (isFleetError(error, 'sql_syntax')) await askToParse(state, runner, text)
    throw error
  }
}
