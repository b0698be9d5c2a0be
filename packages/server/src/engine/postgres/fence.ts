// Dealing the ring anew while it is certain that no sharded table holds a row: the tables are locked on every shard,
// the new epoch is stored for good, routers are sent away, and only then does the catalog change.
//
// Order on each shard: tables locked (writers drain, new ones wait), looked at, then the lock of the shard state (new
// connections wait with their check). Once all shards are held: the epoch written and committed by a second session,
// so that it stands whoever dies from here on, then router connections ended, writers that waited for the table locks
// among them. A router that comes back waits for the end of the fence, or of its session, and then sees the new epoch.
import { FleetError, isFleetError, type Clock, type ShardId } from '@fleetshard/core'
import {
  callTimeoutMsDefault,
  type CallBounds,
  type FenceBody,
  type FenceRequest,
  type FenceResult,
  type ShardTarget,
} from '../shard-engine.ts'
import { hasSqlstate, toNodeError } from './errors.ts'
import { endRouterConnections, lockShardState, raiseState, requireIdentity } from './identity.ts'
import { quoteTableName } from './names.ts'
import { openSession, withSession, type Session } from './session.ts'

type Obstacle = Extract<FenceResult, { kind: 'not-empty' | 'busy' }>

interface HeldShard extends ShardTarget {
  readonly session: Session
}

/** See the port. */
export async function fenceEmptyTables(
  clock: Clock,
  request: FenceRequest,
  body: FenceBody,
  bounds: CallBounds,
): Promise<FenceResult> {
  using deadline = deadlineOf(clock, bounds)
  await using held = new AsyncDisposableStack()
  const open = async ({ shard, target }: ShardTarget): Promise<HeldShard> => ({
    shard,
    target,
    session: held.use(await openSession({ clock, target, bounds })),
  })
  const shards = await allSettled(request.shards.map(open))
  try {
    const obstacle =
      (await onEach(shards, (one) => hold(one, request))) ??
      (await body.announce(deadline.signal)) ??
      (await onEach(shards, (one) => raise(clock, one, request, bounds)))
    if (obstacle !== null) return obstacle
    const outcome = await body.change(deadline.signal)
    return outcome === 'conflict' ? { kind: 'conflict' } : { kind: 'fenced', outcome }
  } finally {
    // What had to be kept is committed by other sessions; here only locks are let go.
    await rollback(shards)
  }
}

/** Runs a step on all shards at once; the first obstacle, or null. */
async function onEach(
  shards: readonly HeldShard[],
  step: (held: HeldShard) => Promise<Obstacle | null>,
): Promise<Obstacle | null> {
  const obstacles = await allSettled(shards.map((held) => asked(held, () => step(held))))
  return obstacles.find((found) => found !== null) ?? null
}

/** A signal that aborts at the deadline of the call, or with the caller's. */
function deadlineOf(clock: Clock, bounds: CallBounds): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController()
  const cancel = clock.after(bounds.timeoutMs ?? callTimeoutMsDefault, () => {
    controller.abort(new FleetError('deadline_exceeded', 'the fence took too long'))
  })
  const { signal } = controller
  return {
    signal: bounds.signal === undefined ? signal : AbortSignal.any([bounds.signal, signal]),
    [Symbol.dispose]: cancel,
  }
}

/** Like Promise.all, but fails only when all have ended: nothing goes on behind the back of the clean-up. */
async function allSettled<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(promises)
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
}

/** Runs a step on a shard and turns locks that were not had into `busy`. */
async function asked(held: HeldShard, step: () => Promise<Obstacle | null>): Promise<Obstacle | null> {
  try {
    return await step()
  } catch (error) {
    const { shard } = held
    if (hasSqlstate(error, '55P03')) return { kind: 'busy', shard, reason: 'a table is locked by a writer' }
    if (hasSqlstate(error, '40P01')) return { kind: 'busy', shard, reason: 'another change locks the tables' }
    const told = toNodeError(error, held.session.target)
    if (isFleetError(told, 'shard_unavailable')) return { kind: 'busy', shard, reason: told.message }
    throw told
  }
}

async function hold({ shard, session }: HeldShard, request: FenceRequest): Promise<Obstacle | null> {
  await requireIdentity(session, shard)
  await session.query('begin isolation level read committed read write')
  await session.query("select set_config('lock_timeout', $1, true)", [String(request.lockTimeoutMs)])
  for (const table of request.tables) {
    try {
      await session.query(`lock table ${quoteTableName(table)} in share mode`)
    } catch (error) {
      if (hasSqlstate(error, '42P01', '3F000')) throw missing(table, shard)
      throw error
    }
  }
  for (const table of request.tables) {
    if (await holdsRows(session, table)) return { kind: 'not-empty', shard, table }
  }
  await lockShardState(session)
  return null
}

/** By a session of its own, under the lock that the held one has: it must outlive that one. */
async function raise(
  clock: Clock,
  { target, session }: HeldShard,
  { epochMin }: FenceRequest,
  bounds: CallBounds,
): Promise<null> {
  await withSession({ clock, target, bounds }, (other) => raiseState(other, epochMin, 0))
  await endRouterConnections(session)
  return null
}

function missing(table: string, shard: ShardId): FleetError {
  return new FleetError('not_found', `shard ${shard} has no table ${table}`, {
    hint: 'create the table on every shard: fleetshard table create',
  })
}

async function holdsRows(session: Session, table: string): Promise<boolean> {
  const [row] = await session.query<{ held: boolean }>(
    `select exists (select from ${quoteTableName(table)} limit 1) as held`,
  )
  return row?.held !== false
}

/** The first of the tables that holds a row, or null; tables that don't exist hold none. */
export async function findRows(session: Session, tables: readonly string[]): Promise<string | null> {
  for (const table of tables) {
    const [found] = await session.query<{ found: boolean }>('select to_regclass($1) is not null as found', [
      quoteTableName(table),
    ])
    if (found?.found === true && (await holdsRows(session, table))) return table
  }
  return null
}

async function rollback(shards: readonly HeldShard[]): Promise<void> {
  // A connection that is lost needs none: the server rolls back by itself.
  await Promise.all(shards.map(({ session }) => session.query('rollback').catch(() => undefined)))
}
