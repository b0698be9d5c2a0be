// A Query in place of the Sync of a group: it belongs to the transaction of the group, and ends it. Versions of Postgres
// do not agree on that, and some are out of step after it: so the transaction becomes an explicit one for its sake.
import { writeBind, writeExecute, writeParse, writeQuery } from '@fleetshard/routing/pgwire'
import { step } from './answer.ts'
import type { GroupRunner } from './group-runner.ts'
import type { Group } from './server-side.ts'
import type { SessionState } from './session-state.ts'
import { isUntold, tellWritten } from './session-token.ts'

/** Begins a transaction that what the group has done so far belongs to; the Sync behind it ends the group. */
const begin: Group = {
  wantsTags: false,
  isHidden: true,
  encode: (out, end) => {
    writeParse(out, '', 'begin')
    writeBind(out, { portal: '', statement: '', params: [], resultFormats: [] })
    writeExecute(out, '', 0)
    end(out)
    return [step.hide, step.hide, step.execute]
  },
}

/** Makes room for a Query where a group is open. @throws FleetError when the connection is lost */
export async function closeForQuery(state: SessionState, runner: GroupRunner): Promise<void> {
  const { held } = state
  if (held === null) return
  const { end } = await runner.run(held, begin, false)
  state.isGroupOpen = false
  if (end.kind !== 'lost') return
  state.lose(end.error)
  throw end.error
}

/** Ends the transaction behind the Query. @throws FleetError when the connection is lost */
export async function endBehindQuery(state: SessionState, runner: GroupRunner): Promise<void> {
  const { held, transaction } = state
  if (held === null) return
  const isFailed = held.session.connection.transactionStatus === 'failed'
  const { answer, end } = await runner.run(held, {
    wantsTags: false,
    isHidden: true,
    encode: (out) => {
      writeQuery(out, isFailed ? 'rollback' : 'commit')
      return []
    },
  })
  if (end.kind === 'lost') {
    state.lose(end.error)
    throw end.error
  }
  if (answer.error !== null) state.output.copy(answer.error, 0, answer.error.length)
  if ((isFailed || answer.error !== null) && transaction !== null) state.restore(transaction.before)
  held.session.settings = state.settings
  if (isUntold(state, held)) await tellWritten(state, held)
}
