// Runs statements on the shard that owns them: chooses the node, a lane or a session of its own, and after a fault
// decides whether a statement may be sent again. Knows no HTTP.
import { FleetError, isFleetError, type Clock, type ShardMap, type ShardRecord } from '@fleetshard/core'
import { keyParametersOf, planOf, placeStatement, type KnownStatement } from '../plan/mod.ts'
import type { Cancellation, DeadlineSweeper } from './cancellation.ts'
import {
  isHeld,
  placeTogether,
  refuseAlone,
  refuseHidden,
  refuseInTransaction,
  refuseOldMap,
  refuseState,
  refuseSuperseded,
} from './checks.ts'
import { laneMeanMsMax, laneResultBytesMax } from './limits.ts'
import { checkParameterCount } from './parameters.ts'
import { leftBy, mayShareLane, mayWrite, type SchemaFacts } from './schema-facts.ts'
import { HoldBuffer } from './hold-buffer.ts'
import {
  cleanSession,
  endOrThrow,
  runAlone,
  runInLane,
  settled,
  type StatementWork,
  type WorkEnd,
} from './session-work.ts'
import type { NodePool } from './node-pool.ts'
import type { Session } from './session.ts'
import type { NodeAccess, ShardAccess } from './shard-access.ts'
import type { RowsConsumer } from './statement-run.ts'
import { runTransaction, type TransactionOptions } from './transaction.ts'

/** The parts of the router that execution stands on. */
export interface ExecutorParts {
  readonly clock: Clock
  readonly sweeper: DeadlineSweeper
  /** The way to a shard. */
  readonly access: (shard: ShardRecord) => ShardAccess
  /** Resolves when the keyspace's map is newer than that one, or the time for it is over. */
  readonly newerMap: (map: ShardMap) => Promise<void>
  readonly metrics: ExecutorMetrics
}

/** What execution counts. */
export interface ExecutorMetrics {
  /** A statement went to a node of that role, in a lane or alone. */
  routed(role: 'primary' | 'replica', way: 'lane' | 'alone'): void
  /** A statement was sent again, because of that. */
  retried(reason: 'stale_map' | 'lost' | 'lane'): void
}

/** One statement of a client. */
export interface StatementCall {
  readonly known: KnownStatement
  readonly params: readonly unknown[]
  readonly consumer: RowsConsumer
  readonly shardKey: string | number | undefined
  readonly consistency: 'strong' | 'eventual'
  readonly readOnly: boolean
  /** The keyspace's map as it is now; asked again at every attempt. */
  readonly map: () => ShardMap
  readonly cancellation: Cancellation
}

/** How a statement was answered. */
export interface StatementAnswer {
  readonly shard: ShardRecord
  readonly node: string
  readonly epoch: number
  readonly rowCount: number
}

/** Statements of a client that happen together or not at all. */
export interface TransactionCall {
  readonly statements: readonly Pick<StatementCall, 'known' | 'params' | 'consumer'>[]
  readonly shardKey: string | number | undefined
  readonly options: TransactionOptions
  readonly map: () => ShardMap
  readonly cancellation: Cancellation
}

/** How a transaction was answered; one row count a statement. */
export interface TransactionAnswer extends Omit<StatementAnswer, 'rowCount'> {
  readonly rowCounts: readonly number[]
}

/** A statement is sent at most this often. */
const attemptsMax = 3

/** Weight of a run that was faster, and of one that was slower, than what is known of the statement. */
const fasterWeight = 0.3
const slowerWeight = 0.02

/** What a statement does by the names of a database. */
interface Traits {
  /** It may share a lane. */
  readonly shares: boolean
  /** It may not be sent again when its outcome is unknown. */
  readonly writes: boolean
  readonly leaves: ReturnType<typeof leftBy>
}

/** Forgotten with the statement or the names. */
const traits = new WeakMap<SchemaFacts, WeakMap<KnownStatement, Traits>>()

function traitsOf(known: KnownStatement, facts: SchemaFacts): Traits {
  let ofFacts = traits.get(facts)
  if (ofFacts === undefined) traits.set(facts, (ofFacts = new WeakMap()))
  let kept = ofFacts.get(known)
  if (kept === undefined) {
    kept = {
      shares: mayShareLane(known.facts, facts),
      writes: mayWrite(known.facts, facts),
      leaves: leftBy(known.facts, facts),
    }
    ofFacts.set(known, kept)
  }
  return kept
}

interface Attempt {
  readonly call: StatementCall
  readonly shard: ShardRecord
  readonly map: ShardMap
  readonly access: ShardAccess
  readonly failedNodes: Set<NodeAccess>
  /** Set after the lane turned out to be the wrong place. */
  noLane: boolean
}

/** How a run went, and what decides whether another may follow. */
interface Ran {
  readonly ended: WorkEnd
  readonly inLane: boolean
}

/** Runs statements and transactions. */
export class Executor {
  readonly #parts: ExecutorParts
  readonly #holds: HoldBuffer

  constructor(parts: ExecutorParts) {
    this.#parts = parts
    this.#holds = new HoldBuffer(parts)
  }

  /**
   * Runs one statement to its end.
   * @throws FleetError of placement, of the queue, of Postgres, or the cancellation's reason
   */
  async execute(call: StatementCall): Promise<StatementAnswer> {
    refuseAlone(call.known.facts, call.readOnly)
    checkParameterCount(call.params, call.known.facts.parameters)
    const failedNodes = new Set<NodeAccess>()
    let noLane = false
    for (let attempt = 1; ; attempt += 1) {
      let map = call.map()
      let shard = placeStatement(call.known, map, call)
      while (isHeld(shard, call)) {
        await this.#holds.wait(shard, map, call)
        map = call.map()
        shard = placeStatement(call.known, map, call)
      }
      refuseState(shard, call.known.facts)
      const trial: Attempt = { call, shard, map, access: this.#parts.access(shard), failedNodes, noLane }
      const last = attempt === attemptsMax
      const done = await this.#try(trial, last)
      if (done !== null) return done
      noLane = trial.noLane
      call.consumer.reset()
    }
  }

  /**
   * Runs statements in one transaction on one shard.
   * @throws as `execute`; then nothing of it happened, unless the code is `outcome_unknown`
   */
  async transaction(call: TransactionCall): Promise<TransactionAnswer> {
    for (const { known, params } of call.statements) {
      refuseInTransaction(known.facts, call.options.readOnly)
      checkParameterCount(params, known.facts.parameters)
    }
    for (let attempt = 1; ; attempt += 1) {
      let map = call.map()
      let shard = placeTogether(call, map)
      while (shard.hold !== undefined) {
        await this.#holds.wait(shard, map, call)
        map = call.map()
        shard = placeTogether(call, map)
      }
      for (const { known } of call.statements) refuseState(shard, known.facts)
      const access = this.#parts.access(shard)
      const done = await this.#transactionOn(access, call, { map, last: attempt === attemptsMax })
      if (done !== null) return { shard, epoch: map.epoch, ...done }
      for (const { consumer } of call.statements) consumer.reset()
    }
  }

  /** One attempt; null when another is worth it. */
  async #try(trial: Attempt, last: boolean): Promise<StatementAnswer | null> {
    const { call, shard, map } = trial
    let node: NodeAccess | null = null
    try {
      const facts = await trial.access.schemaFacts(call.cancellation)
      const its = traitsOf(call.known, facts)
      refuseHidden(call, map, facts)
      node = this.#node(trial, its.shares)
      const ran = await this.#run(trial, node, { traits: its, facts })
      learn(call.known, ran.ended)
      if (!last && this.#mayRepeat(trial, ran, { node, writes: its.writes })) return null
      const { rowCount } = endOrThrow(ran.ended.end, its.writes)
      return { shard, node: node.node.id, epoch: map.epoch, rowCount }
    } catch (error) {
      if (last || !(await this.#mayTryAgain(error, trial, node))) throw at(error, shard, node)
      return null
    }
  }

  #node(trial: Attempt, shares: boolean): NodeAccess {
    const { call, access, failedNodes } = trial
    if (call.consistency === 'eventual' && shares) return access.replica(failedNodes) ?? access.primary()
    return access.primary()
  }

  async #run(
    trial: Attempt,
    { node, pool }: NodeAccess,
    how: { traits: Traits; facts: SchemaFacts },
  ): Promise<Ran> {
    const { call, shard, map } = trial
    const { cancellation } = call
    const role = node.role === 'primary' ? 'primary' : 'replica'
    const work = workOf(call, map, how.facts)
    if (how.traits.shares && !trial.noLane && isCheap(call.known)) {
      const lane = await pool.lane(cancellation)
      if (lane !== null) {
        refuseOldMap(lane, map)
        refuseSuperseded(call, map)
        this.#parts.metrics.routed(role, 'lane')
        const onFree = (): void => {
          pool.laneAdvanced()
        }
        const ended = await runInLane(this.#parts, lane, work, { cancellation, onFree })
        onFree()
        return { ended, inLane: true }
      }
    }
    this.#parts.metrics.routed(role, 'alone')
    const session = await pool.borrow(cancellation)
    try {
      refuseOldMap(session, map)
      refuseSuperseded(call, map)
      const readOnly = call.readOnly || (shard.status === 'readonly' && how.traits.writes)
      const ended = readOnly
        ? await this.#runReadOnly(session, work, cancellation)
        : await runAlone(this.#parts, session, work, cancellation)
      return { ended, inLane: false }
    } finally {
      this.#finish(pool, session, how.traits.leaves)
      if (call.known.facts.kind === 'ddl') trial.access.schemaChanged()
    }
  }

  /** Postgres itself holds a statement to its promise to read only. */
  async #runReadOnly(session: Session, work: StatementWork, cancellation: Cancellation): Promise<WorkEnd> {
    const options: TransactionOptions = { isolation: 'read committed', readOnly: true }
    const { end, ends } = await runTransaction(this.#parts, session, { works: [work], options, cancellation })
    return ends[0] ?? { end, bytes: 0, serverMs: 0 }
  }

  /** Cleans what needs it, in the background of the answer, and gives the session back. */
  #finish(pool: NodePool, session: Session, left: Traits['leaves']): void {
    if (session.connection.state !== 'open' || (left === 'nothing' && session.canceling === null)) {
      pool.giveBack(session)
      return
    }
    const giveBack = (): void => {
      pool.giveBack(session)
    }
    this.#clean(session, left).then(giveBack, giveBack)
  }

  async #clean(session: Session, left: Traits['leaves']): Promise<void> {
    await settled(session)
    if (left === 'more')
      session.connection.destroy(new FleetError('canceled', 'the session cannot be cleaned for others'))
    if (left === 'state' && session.connection.transactionStatus === 'idle')
      await cleanSession(this.#parts, session)
  }

  async #transactionOn(
    access: ShardAccess,
    call: TransactionCall,
    { map, last }: { map: ShardMap; last: boolean },
  ): Promise<{ node: string; rowCounts: number[] } | null> {
    let node: NodeAccess | null = null
    try {
      const facts = await access.schemaFacts(call.cancellation)
      for (const statement of call.statements)
        refuseHidden({ ...statement, shardKey: call.shardKey }, map, facts)
      node = access.primary()
      const lefts = call.statements.map(({ known }) => traitsOf(known, facts).leaves)
      const left = lefts.find((one) => one === 'more') ?? lefts.find((one) => one === 'state') ?? 'nothing'
      const session = await node.pool.borrow(call.cancellation)
      this.#parts.metrics.routed('primary', 'alone')
      try {
        refuseOldMap(session, map)
        refuseSuperseded(call, map)
        const works = call.statements.map((statement) => workOf(statement, map, facts))
        const readOnly = call.options.readOnly || access.record.status === 'readonly'
        const { end, ends } = await runTransaction(this.#parts, session, {
          works,
          options: { ...call.options, readOnly },
          cancellation: call.cancellation,
        })
        if (end.kind === 'lost' && end.outcome === 'aborted' && !last && call.cancellation.reason === null) {
          this.#parts.metrics.retried('lost')
          return null
        }
        endOrThrow(end, true)
        const rowCounts = ends.map((ended) => (ended.end.kind === 'completed' ? ended.end.rowCount : 0))
        return { node: node.node.id, rowCounts }
      } finally {
        this.#finish(node.pool, session, left)
      }
    } catch (error) {
      if (last || !isFleetError(error, 'stale_map') || call.cancellation.reason !== null) {
        throw at(error, access.record, node)
      }
      this.#parts.metrics.retried('stale_map')
      await call.cancellation.until(this.#newer(map, call.map))
      return null
    }
  }

  /** After a run: true when nothing happened, or it was a read, and another place may do better. */
  #mayRepeat(trial: Attempt, ran: Ran, { node, writes }: { node: NodeAccess; writes: boolean }): boolean {
    const { end } = ran.ended
    if (trial.call.cancellation.reason !== null) return false
    if (end.kind === 'lost' && (end.outcome === 'aborted' || !writes)) {
      if (node.node.role !== 'primary') trial.failedNodes.add(node)
      this.#parts.metrics.retried('lost')
      return true
    }
    // Alone these are the client's.
    if (end.kind !== 'error' || !ran.inLane || !laneStates.has(end.sqlstate)) return false
    trial.noLane = true
    this.#parts.metrics.retried('lane')
    return true
  }

  /** Waits for another map than that one, in case it is not there yet. */
  #newer(map: ShardMap, now: () => ShardMap): Promise<void> {
    return now() === map ? this.#parts.newerMap(map) : Promise.resolve()
  }

  /** After a failure to get a session: true when another node, or a newer map, may do better. */
  async #mayTryAgain(error: unknown, trial: Attempt, node: NodeAccess | null): Promise<boolean> {
    if (trial.call.cancellation.reason !== null) return false
    if (isFleetError(error, 'stale_map')) {
      this.#parts.metrics.retried('stale_map')
      await trial.call.cancellation.until(this.#newer(trial.map, trial.call.map))
      return true
    }
    if (node === null || node.node.role === 'primary' || !isFleetError(error)) return false
    if (error.code !== 'shard_unavailable' && error.code !== 'wrong_database') return false
    trial.failedNodes.add(node)
    return true
  }
}

/** An error that came from a shard, saying from where. */
function at(error: unknown, shard: ShardRecord, node: NodeAccess | null): unknown {
  if (!(error instanceof FleetError)) return error
  return error.withFacts({ shard_id: shard.id, ...(node === null ? {} : { node: node.node.id }) })
}

/** In a lane these mean: it writes after all, it waits for a lock, it takes long or was cancelled for another. */
const laneStates = new Set(['25006', '55P03', '57014'])

function workOf(
  call: Pick<StatementCall, 'known' | 'params' | 'consumer'>,
  map: ShardMap,
  facts: SchemaFacts,
): StatementWork {
  const { kind } = call.known.facts
  return {
    text: call.known.text,
    params: call.params,
    consumer: call.consumer,
    commitsAtSync: kind === 'read' || kind === 'locking' || kind === 'write',
    keys: map.owners.length > 1 ? keyParametersOf(planOf(call.known, map)) : [],
    domains: facts.domains,
    looksFirst: kind === 'write',
  }
}

const isCheap = ({ cost }: KnownStatement): boolean =>
  !cost.large && cost.meanMs !== null && cost.meanMs < laneMeanMsMax

/**
 * Follows the low end of what a statement takes: on a busy machine most runs are slow for reasons that are not the
 * statement's own.
 */
function learn({ cost }: KnownStatement, { end, bytes, serverMs }: WorkEnd): void {
  if (end.kind !== 'completed') return
  if (bytes > laneResultBytesMax) cost.large = true
  const known = cost.meanMs
  cost.meanMs =
    known === null ? serverMs : known + (serverMs - known) * (serverMs < known ? fasterWeight : slowerWeight)
}
