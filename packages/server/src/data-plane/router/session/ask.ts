// Questions to a server about a statement that cannot be placed yet. Nothing is done by them, so any shard will do, and
// one that is lost on the way, or moves meanwhile, is asked again as long as nothing ties the session to it.
import { FleetError, isFleetError } from '@fleetshard/core'
import type { WireWriter } from '@fleetshard/routing/pgwire'
import type { Answer, AnswerStep } from './answer.ts'
import { attemptsMax, connectFor, mayMove } from './connect.ts'
import { SaidByServer, SessionLost } from './errors.ts'
import type { GroupRunner } from './group-runner.ts'
import type { GroupEnd, Held } from './server-side.ts'
import { rolledBack, type SessionState } from './session-state.ts'

/**
 * Sends what `encode` writes, and keeps its answer from the client.
 * @throws SaidByServer; SessionLost; FleetError of the connection: where a transaction has gone with it, as its client has to be told
 */
export async function ask(
  state: SessionState,
  runner: GroupRunner,
  encode: (out: WireWriter, end: GroupEnd) => readonly AnswerStep[],
): Promise<Answer> {
  for (let count = 1; ; count += 1) {
    const isLast = count >= attemptsMax || !mayMove(state)
    const held = await connectOrWait(state, isLast)
    if (held === null) continue
    const { answer, end } = await runner.run(held, { wantsTags: false, isHidden: true, encode })
    if (end.kind === 'lost' || held.session.connection.state !== 'open') {
      const lost =
        end.kind === 'lost' ? end.error : new FleetError('shard_unavailable', 'the server has gone')
      afterLoss(state, lost, isLast)
      continue
    }
    if (state.transaction === null) state.release()
    if (answer.error !== null) throw new SaidByServer(answer.error, answer.sqlstate)
    return answer
  }
}

/** Null once the router has a newer map, where the one that it had was too old for the server. */
async function connectOrWait(state: SessionState, isLast: boolean): Promise<Held | null> {
  const { map, environment, cancellation } = state
  try {
    return await connectFor(state, { shard: null, map, isRepeatable: true, reads: null })
  } catch (error) {
    if (isLast || !isFleetError(error, 'stale_map')) throw error
    environment.metrics.retried('stale_map')
    if (state.map === map) await cancellation.until(environment.newerMap(map))
    return null
  }
}

/** @throws FleetError, SessionLost unless it may be asked again */
function afterLoss(state: SessionState, lost: FleetError, isLast: boolean): void {
  if (!isLast && state.cancellation.reason === null) {
    state.startOver()
    state.environment.metrics.retried('lost')
    return
  }
  const wasBound = state.isBound
  const hadBegun = state.transaction !== null
  state.lose(lost)
  if (wasBound) throw new SessionLost(lost.message)
  throw hadBegun ? rolledBack(lost) : lost
}
