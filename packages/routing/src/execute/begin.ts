// The begin of a transaction that stays open over several requests: a session of its own, BEGIN on it, and nothing
// left behind when that fails.
import { FleetError, type ShardMap } from '@fleetshard/core'
import { refuseOldMap } from './checks.ts'
import type { BeginCall } from './calls.ts'
import type { ExecutorParts } from './executor.ts'
import { giveBack } from './give-back.ts'
import { HeldTransaction } from './held-transaction.ts'
import { forgetNumbers } from './recall.ts'
import { endOrThrow, runAlone } from './session-work.ts'
import type { Session } from './session.ts'
import type { NodeAccess, ShardAccess } from './shard-access.ts'
import { beginWork, rollback, type TransactionOptions } from './transaction.ts'

/** Where a transaction is begun. */
export interface BeginPlace {
  readonly access: ShardAccess
  readonly node: NodeAccess
  readonly map: ShardMap
}

/** Begins it there. @throws FleetError; null when the connection was lost, and another may do */
export async function beginOn(
  parts: ExecutorParts,
  { access, node, map }: BeginPlace,
  call: BeginCall,
): Promise<HeldTransaction | null> {
  const readOnly = call.options.readOnly || access.record.status === 'readonly'
  const options: TransactionOptions = { ...call.options, readOnly }
  const unhold = node.pool.hold()
  const { idleMs } = call
  try {
    const session = await node.pool.borrow(call.cancellation)
    try {
      refuseOldMap(session, map)
      parts.metrics.routed('primary', 'alone')
      if (session.remembers) forgetNumbers(session)
      if (!(await sendBegin(parts, session, { options, call }))) {
        unhold()
        giveBack(parts, node.pool, { session, left: 'nothing' })
        return null
      }
    } catch (error) {
      giveBack(parts, node.pool, { session, left: 'nothing' })
      throw error
    }
    return new HeldTransaction({
      ...parts,
      access,
      node,
      session,
      map,
      options,
      idleMs,
      giveBack: (left) => {
        unhold()
        giveBack(parts, node.pool, { session, left })
      },
    })
  } catch (error) {
    unhold()
    throw error
  }
}

/** False when the connection was lost before the answer. */
async function sendBegin(
  parts: ExecutorParts,
  session: Session,
  { options, call }: { options: TransactionOptions; call: BeginCall },
): Promise<boolean> {
  const { end } = await runAlone(parts, session, beginWork(options), call.cancellation)
  if (call.cancellation.reason !== null) {
    await rollback(parts, session, end)
    throw call.cancellation.reason
  }
  if (end.kind === 'lost') return false
  endOrThrow(end, { writes: false })
  return true
}

/** What a server says while it is shut down or taken over: nothing was begun. */
export const beginLost = (): FleetError =>
  new FleetError('shard_unavailable', 'the connection was lost while the transaction began', {
    hint: 'try again; fleetshard status shows the state of the servers',
  })
