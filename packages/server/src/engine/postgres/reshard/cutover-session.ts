// A connection kept ready for the moment of a cutover: connected, logged in and prepared before statements are held.
import { FleetError, parseLsn, type Clock, type Lsn } from '@fleetshard/core'
import type { CutoverSession } from '../../reshard-engine.ts'
import type { NodeTarget } from '../../shard-engine.ts'
import { toNodeError } from '../errors.ts'
import { openSession, type Session } from '../session.ts'
import { changedTable } from './inspect-source.ts'
import { fingerprintOf, installFence, liftFence, placeFence, raiseEpoch } from './source-fence.ts'
import { restore } from './stripped.ts'

/** From being opened to the end of the cutover. */
const sessionMsMax = 60_000

/** See the port. */
export async function openCutover(parts: {
  readonly clock: Clock
  readonly target: NodeTarget
  readonly signal: AbortSignal
}): Promise<CutoverSession> {
  const { clock, target, signal } = parts
  const session = await openSession({ clock, target, bounds: { signal, timeoutMs: sessionMsMax } })
  let fingerprint: string | null = null
  const told = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      signal.throwIfAborted()
      throw toNodeError(error, target)
    }
  }
  return {
    prepareFence: (tables) =>
      told(
        (async () => {
          await installFence(session)
          fingerprint = await fingerprintOf(session, tables)
          return changedTable(session, tables)
        })(),
      ),
    placeFence: (fence) => {
      if (fingerprint === null) throw new FleetError('internal', 'a fence that was not prepared')
      return told(placeFence(session, fence, fingerprint))
    },
    raiseEpoch: (state) => told(raiseEpoch(session, state)),
    liftFence: (fence) => told(liftFence(session, fence)),
    restoreKeys: (job, run) => told(restore(session, job, ['trigger', 'foreign key'], run)),
    position: () => told(positionOf(session)),
    [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
  }
}

/** Of what is inserted, not of what is written out: a commit that was answered lies below it in any case. */
async function positionOf(session: Session): Promise<Lsn> {
  const [row] = await session.query<{ at: string }>('select pg_current_wal_insert_lsn()::text as at')
  return parseLsn(row?.at ?? '')
}
