// The way of a borrowed session back to its pool: cleaned where that is needed, in the background of the answer.
import { FleetError } from '@fleetshard/core'
import type { NodePool } from './node-pool.ts'
import { cleanSession, settled, type WorkParts } from './session-work.ts'
import type { Session } from './session.ts'
import type { Left } from './traits.ts'

/** Gives a session back, after it is clean for others; one that can't be cleaned goes. */
export function giveBack(
  parts: WorkParts,
  pool: NodePool,
  { session, left }: { session: Session; left: Left },
): void {
  if (session.connection.state !== 'open' || (left === 'nothing' && session.canceling === null)) {
    pool.giveBack(session)
    return
  }
  const give = (): void => {
    pool.giveBack(session)
  }
  clean(parts, session, left).then(give, give)
}

async function clean(parts: WorkParts, session: Session, left: Left): Promise<void> {
  await settled(session)
  if (left === 'more')
    session.connection.destroy(new FleetError('canceled', 'the session cannot be cleaned for others'))
  if (left === 'state' && session.connection.transactionStatus === 'idle') await cleanSession(parts, session)
}
