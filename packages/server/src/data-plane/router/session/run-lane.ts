// A read in a lane, from the session's messages to its answer, without a promise where everything is known: the way of
// most statements. What turns out to be in the wrong place is run alone.
import { FleetError, type ShardMap, type ShardRecord } from '@fleetshard/core'
import {
  abandonInLane,
  freshnessOf,
  suitsLane,
  learnCost,
  type LaneSharer,
  type NodeAccess,
  type ReadTerms,
  type Session,
  type ShardAccess,
  type Taker,
} from '@fleetshard/routing/execute'
import { writeSync } from '@fleetshard/routing/pgwire'
import { Answer, type AnswerEnd, type AnswerHost } from './answer.ts'
import { shardFor } from './connect.ts'
import { refuseOtherPath } from './own-path.ts'
import { check, place, traitsOf } from './plan-use.ts'
import type { SessionState } from './session-state.ts'
import { readTermsOf, targetOfSession } from './variables.ts'
import type { WireStatement } from './wire-statements.ts'
import type { Prepared, Work } from './work.ts'

/** How a read in a lane ended; `alone` when it is to be run on a connection of its own. */
export type LaneEnd =
  | {
      readonly kind: 'answered'
      readonly sqlstate: string
      readonly rows: number
      readonly shard: ShardRecord
      readonly answered: number
    }
  | { readonly kind: 'alone'; readonly why: 'lane' | 'lost' | null }
  | { readonly kind: 'canceled' }
  /** No lane came free, or its connection was lost when part of the answer was on its way. */
  | { readonly kind: 'failed'; readonly error: FleetError }

/** A read that was begun. */
export interface LaneRead {
  /** The client does not want it any more. */
  cancel(): void
}

/** In a lane these mean: it writes after all, it waits for a lock, it takes long or was cancelled for another. */
const laneStates = new Set(['25006', '55P03', '57014'])

/**
 * Begins the read in a lane, if it may share one and there is room; null when it has to be run alone.
 * @param over called once, never before this returns
 */
export function beginInLane(state: SessionState, work: Work, over: (end: LaneEnd) => void): LaneRead | null {
  const found = findLane(state, work)
  if (found === null) return null
  const { node } = found
  const read = new Read({ ...found, state, work, over })
  const lane =
    state.settings.key === ''
      ? node.pool.laneFor(read, state.cancellation)
      : node.pool.laneNow(state.settings)
  if (lane === undefined) return read
  return lane !== null && read.submit(lane) ? read : null
}

/** What is refused, or not yet known, is seen to where it is run alone. */
function findLane(
  state: SessionState,
  work: Work,
): { node: NodeAccess; shard: ShardRecord; map: ShardMap } | null {
  const [use] = work.uses
  if (!work.isPlain || use === undefined || !suitsLane(use.known.cost)) return null
  if (state.transaction !== null || state.held !== null || !state.settings.mayShareLane) return null
  try {
    const { map } = state
    const session = targetOfSession(state.variables)
    const placed = place(use, map, session)
    const shard = shardFor(state, placed.shard, map)
    const access = state.environment.access(shard, state.start.login)
    const schema = access.knownFacts
    if (schema === null || !traitsOf(use.known, schema).shares) return null
    check(placed, map, schema, session)
    refuseOtherPath(state, [use.known.facts], { map, schema })
    const node = nodeFor(readTermsOf(state.variables, map), shard, access)
    return node === null ? null : { node, shard, map }
  } catch (error) {
    if (error instanceof FleetError) return null
    throw error
  }
}

/**
 * Null while the shard is held for a cutover: but for reads that may be older, statements wait; and where it is not
 * known at once which replica is fresh enough.
 */
function nodeFor(reads: ReadTerms | null, shard: ShardRecord, access: ShardAccess): NodeAccess | null {
  const freshness = reads === null ? 'none' : freshnessOf(reads, shard)
  if (freshness === 'any') return access.replica(new Set()) ?? access.primary()
  if (freshness !== 'none') return access.progress.known(access, freshness)
  return shard.hold === undefined ? access.primary() : null
}

interface ReadParts {
  readonly state: SessionState
  readonly work: Work
  readonly node: NodeAccess
  readonly shard: ShardRecord
  readonly map: ShardMap
  readonly over: (end: LaneEnd) => void
}

class Read implements AnswerHost, LaneRead, LaneSharer, Taker {
  readonly #parts: ReadParts
  readonly #answer: Answer
  chain: object | null = null
  before: LaneSharer | null = null
  behind: LaneSharer | null = null
  readonly #parsed: WireStatement[] = []
  /** Null as long as there is none with room. */
  #lane: Session | null = null
  /** What was sent in place of the client's Query. */
  #prepared: Prepared | null = null
  #isOver = false
  /** The lane is this read's alone, since its client is slow. */
  #isDetached = false
  #whenGone: (() => void) | null = null

  constructor(parts: ReadParts) {
    this.#parts = parts
    this.#answer = new Answer({ output: parts.state.output, host: this, wantsTags: false })
  }

  /** False when that lane cannot be used. */
  submit(lane: Session): boolean {
    const { work, node, state, map } = this.#parts
    if (lane.epochMin > map.epoch) return false
    const { traceparent = null } = work
    const inLane =
      traceparent === null ? work.groupInLane?.(lane.statements, state.environment.wireStatements) : undefined
    const { group, prepared } = inLane ?? {
      group: work.group(lane.statements, this.#parsed, traceparent),
      prepared: null,
    }
    this.#prepared = prepared
    try {
      lane.connection.submitWith((out) => {
        this.#answer.expect(group.encode(out, writeSync), group.told)
      }, this.#answer)
    } catch {
      return false
    }
    this.#lane = lane
    lane.sharers.add(this)
    state.environment.metrics.routed(node.node.role === 'primary' ? 'primary' : 'replica', 'lane')
    return true
  }

  /** A lane came free; null when it is better to go alone. */
  give(lane: Session | null): void {
    if (this.#isOver) return
    const { state, map } = this.#parts
    // What was placed before the map has changed is placed anew.
    const isOld = state.map.epoch !== map.epoch
    if (lane === null || isOld || !this.submit(lane)) this.#finish({ kind: 'alone', why: null })
  }

  fail(error: FleetError): void {
    this.#finish({ kind: 'failed', error })
  }

  cancel(): void {
    const { node, state } = this.#parts
    const lane = this.#lane
    // What was not sent is dropped by the pool, whose waiting ends with the cancellation.
    if (lane === null || this.#isOver) return
    this.#answer.abandon()
    const gone = new Promise<void>((resolve) => (this.#whenGone = resolve))
    if (this.#isDetached)
      lane.connection.destroy(new FleetError('canceled', 'its client has given the read up'))
    else {
      abandonInLane(state.environment, lane, gone, () => {
        node.pool.laneAdvanced()
      })
    }
    this.#finish({ kind: 'canceled' })
  }

  moveAway(): void {
    if (this.#isOver || !this.#answer.takeBack()) return
    this.#answer.abandon()
    this.#finish({ kind: 'alone', why: 'lane' })
  }

  /** The lane becomes this read's own: its others go elsewhere, and the server waits for this client. */
  lagging(): void {
    const { node, state } = this.#parts
    const lane = this.#lane
    if (this.#isOver || lane === null) return
    if (!this.#isDetached) {
      this.#isDetached = true
      node.pool.detachLane(lane, this)
    }
    if (lane.connection.paused) return
    lane.connection.pause()
    state.output.whenTaken(() => {
      lane.connection.resume()
    })
  }

  copyIn(): void {
    // COPY is no read.
  }

  ended(answer: Answer, end: AnswerEnd): void {
    const { node, shard, work } = this.#parts
    const lane = this.#lane as Session
    lane.sharers.delete(this)
    const { headTookMs: serverMs, receivedMs } = lane.connection
    lane.lastEndMs = receivedMs
    if (this.#isDetached) void lane.connection.close()
    else node.pool.laneAdvanced()
    this.#whenGone?.()
    if (this.#isOver) return
    const { sqlstate } = answer
    if (sqlstate !== '') this.#forget(lane)
    this.#prepared?.ended(sqlstate)
    if (this.#isMisplaced(answer, end) && answer.takeBack()) {
      this.#finish({ kind: 'alone', why: end.kind === 'lost' ? 'lost' : 'lane' })
      return
    }
    if (end.kind === 'lost') {
      this.#finish({ kind: 'failed', error: end.error })
      return
    }
    const [use] = work.uses
    if (sqlstate === '' && use !== undefined) learnCost(use.known.cost, { bytes: answer.rowBytes, serverMs })
    const { rows, answered } = answer
    this.#finish({ kind: 'answered', sqlstate, rows, shard, answered })
  }

  /** What may be answered otherwise on a connection of its own. */
  #isMisplaced({ isStale, sqlstate }: Answer, { kind }: AnswerEnd): boolean {
    return (
      kind === 'lost' || isStale || laneStates.has(sqlstate) || (this.#prepared !== null && sqlstate !== '')
    )
  }

  /** It is not sure that the lane knows what the failed group had it parse. */
  #forget(lane: Session): void {
    for (const { wire } of this.#parts.work.uses) if (wire !== null) lane.statements.forget(wire)
    if (this.#prepared !== null) lane.statements.forget(this.#prepared.statement)
  }

  #finish(end: LaneEnd): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#parts.over(end)
  }
}
