// Runs statements on the shard that owns them: chooses the node, a lane or a session of its own, and after a fault
// decides whether a statement may be sent again. Knows no HTTP.
import {
  isFleetError,
  type Clock,
  type SessionToken,
  type ShardMap,
  type ShardRecord,
} from '@fleetshard/core'
import { runKeyedTransaction } from './keyed-transaction.ts'
import { PositionBehind } from './positions.ts'
import { freshnessOf, tokenAfter } from './session-reads.ts'
import {
  placeCall,
  placeStatement,
  refuseUnlessConcatenated,
  type KnownStatement,
  refuseUnprotected,
} from '../plan/mod.ts'
import { at, roleOf, type Attempt, type Ran, type Work } from './attempt.ts'
import type {
  BeginCall,
  Idempotency,
  StatementAnswer,
  StatementCall,
  TransactionAnswer,
  TransactionCall,
} from './calls.ts'
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
  refuseWholeFunctions,
} from './checks.ts'
import { changesPath, refuseDoubleNames } from './double-names.ts'
import { learnCost, suitsLane } from './cost.ts'
import { checkParameterCount } from './parameters.ts'
import { beginLost, beginOn } from './begin.ts'
import { giveBack } from './give-back.ts'
import type { HeldTransaction } from './held-transaction.ts'
import { HoldBuffer } from './hold-buffer.ts'
import { endOrThrow, isEnded, runAlone, runInLane, type StatementWork, type WorkEnd } from './session-work.ts'
import type { Session } from './session.ts'
import type { NodeAccess, ShardAccess } from './shard-access.ts'
import { traitsOf, worseLeft } from './traits.ts'
import { forgetOthers, refuseForgotten } from './recall.ts'
import { runTransaction, type TransactionOptions } from './transaction.ts'
import { workOf } from './work-of.ts'

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

/** A statement is placed at most this often: a failover alone may take three, and the map changes again after it. */
const attemptsMax = 6

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
    refuseUnprotected(call.known.text, call.map())
    refuseForgotten([call.known.facts], false)
    checkParameterCount(call.params, call.known.facts.parameters)
    const failedNodes = new Set<NodeAccess>()
    let noLane = false
    for (let attempt = 1; ; attempt += 1) {
      let map = call.map()
      if (call.allShards) refuseUnlessConcatenated(call.known, map)
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
      refuseUnprotected(known.text, call.map())
      checkParameterCount(params, known.facts.parameters)
    }
    refuseForgotten(
      call.statements.map(({ known }) => known.facts),
      false,
    )
    const { idempotency } = call
    // What Postgres holds to reading leaves nothing that could be done twice, and no record.
    if (idempotency !== null && !call.options.readOnly) {
      await this.#unheld(call, (map) => placeTogether(call, map))
      return runKeyedTransaction(this.#parts, { ...call, idempotency })
    }
    for (let attempt = 1; ; attempt += 1) {
      const { map, shard } = await this.#unheld(call, (now) => placeTogether(call, now))
      for (const { known } of call.statements) refuseState(shard, known.facts)
      const access = this.#parts.access(shard)
      const done = await this.#transactionOn(access, call, { map, last: attempt === attemptsMax })
      if (done !== null) return { shard, epoch: map.epoch, replayed: false, ...done }
      for (const { consumer } of call.statements) consumer.reset()
    }
  }

  /**
   * Begins a transaction that stays open. Its owner must end it; left alone it ends itself.
   * @throws FleetError as `transaction`; `overloaded` when too many are open on the shard
   */
  async begin(call: BeginCall): Promise<HeldTransaction> {
    for (let attempt = 1; ; attempt += 1) {
      const { map, shard } = await this.#unheld(call, (now) => placeCall(call, now))
      refuseState(shard, reading)
      const access = this.#parts.access(shard)
      const last = attempt === attemptsMax
      let node: NodeAccess | null = null
      try {
        node = access.primary()
        const begun = await beginOn(this.#parts, { access, node, map }, call)
        if (begun !== null) return begun
        if (last) throw beginLost()
        this.#parts.metrics.retried('lost')
      } catch (error) {
        if (last || !isFleetError(error, 'stale_map') || call.cancellation.reason !== null)
          throw at(error, shard, node)
        this.#parts.metrics.retried('stale_map')
        await call.cancellation.until(this.#newer(map, call.map))
      }
    }
  }

  /** The place of a call by the map as it is once nothing holds its shard. */
  async #unheld(
    call: Pick<StatementCall, 'map' | 'cancellation'>,
    place: (map: ShardMap) => ShardRecord,
  ): Promise<{ map: ShardMap; shard: ShardRecord }> {
    let map = call.map()
    let shard = place(map)
    while (shard.hold !== undefined) {
      await this.#holds.wait(shard, map, call)
      map = call.map()
      shard = place(map)
    }
    return { map, shard }
  }

  /** One attempt; null when another is worth it. */
  async #try(trial: Attempt, last: boolean): Promise<StatementAnswer | null> {
    const { call, shard, map, access } = trial
    let node: NodeAccess | null = null
    try {
      const known = access.schemaFacts(call.cancellation)
      const facts = known instanceof Promise ? await known : known
      const its = traitsOf(call.known, facts)
      refuseHidden(call, map, facts)
      refuseDoubleNames(call.known.facts, map, facts, changesPath(call.known.facts))
      if (call.allShards) refuseWholeFunctions(call.known, facts)
      if (call.idempotency !== null && its.writes && !call.readOnly)
        return await this.#once(call, call.idempotency)
      const anyNode = call.consistency === 'eventual' && its.shares
      node = anyNode ? await this.#replica(trial) : access.primary()
      const ran = await this.#run(trial, node, { traits: its, facts })
      // What a slow reader takes says nothing of the statement.
      if (call.consumer.attach === undefined && ran.ended.end.kind === 'completed')
        learnCost(call.known.cost, ran.ended)
      if (!last && this.#mayRepeat(trial, ran, { node, writes: its.writes }))
        return await this.#again(trial, ran)
      const { rowCount } = endOrThrow(ran.ended.end, { writes: its.writes, partial: isPartial(call.known) })
      return { shard, node: node.node.id, epoch: map.epoch, rowCount, replayed: false, token: ran.token }
    } catch (error) {
      if (last || !(await this.#mayTryAgain(error, trial, node))) throw at(error, shard, node)
      return null
    }
  }

  /** A write under a key, in a transaction with the record of it. */
  async #once(call: StatementCall, idempotency: Idempotency): Promise<StatementAnswer> {
    const options: TransactionOptions = { isolation: 'read committed', readOnly: false }
    const { rowCounts, ...answer } = await runKeyedTransaction(this.#parts, {
      ...call,
      statements: [call],
      options,
      idempotency,
    })
    return { ...answer, rowCount: rowCounts[0] ?? 0 }
  }

  /** A replica that is fresh enough for the call, else the primary. */
  async #replica({ call, shard, access, failedNodes }: Attempt): Promise<NodeAccess> {
    const freshness = freshnessOf(call, shard)
    if (freshness === 'none') return access.primary()
    if (freshness === 'any') return access.replica(failedNodes) ?? access.primary()
    const { cancellation } = call
    const replica = await access.progress.choose(access, freshness, { without: failedNodes, cancellation })
    return replica ?? access.primary()
  }

  /** In a lane where the statement may share one, else alone. No promise more than the work itself needs. */
  #run(trial: Attempt, access: NodeAccess, how: Work): Promise<Ran> {
    const { call, shard, map } = trial
    call.consumer.placed?.({ shard: shard.id, node: access.node.id, epoch: map.epoch })
    const waits = call.consumer.attach !== undefined
    if (!how.traits.shares || waits || trial.noLane || !suitsLane(call.known.cost))
      return this.#runAlone(trial, access, how)
    const found = access.pool.lane(call.cancellation)
    if (found === null) return this.#runAlone(trial, access, how)
    if (!(found instanceof Promise)) return this.#runInLane(trial, access, { lane: found, how })
    return found.then((lane) =>
      lane === null ? this.#runAlone(trial, access, how) : this.#runInLane(trial, access, { lane, how }),
    )
  }

  #runInLane(
    { call, map }: Attempt,
    { node, pool }: NodeAccess,
    { lane, how }: { lane: Session; how: Work },
  ): Promise<Ran> {
    refuseOldMap(lane, map)
    refuseSuperseded(call, map)
    this.#parts.metrics.routed(roleOf(node), 'lane')
    const onFree = (): void => {
      pool.laneAdvanced()
    }
    const { cancellation, token } = call
    const work = workOf(call, map, how.facts)
    return runInLane(this.#parts, lane, work, { cancellation, onFree }).then((ended) => {
      onFree()
      return { ended, token, inLane: true }
    })
  }

  async #runAlone(trial: Attempt, { node, pool }: NodeAccess, how: Work): Promise<Ran> {
    const { call, shard, map } = trial
    const { cancellation } = call
    const work = workOf(call, map, how.facts)
    this.#parts.metrics.routed(roleOf(node), 'alone')
    const session = await pool.borrow(cancellation)
    try {
      refuseOldMap(session, map)
      refuseSuperseded(call, map)
      forgetOthers(session, [call])
      const readOnly = call.readOnly || (shard.status === 'readonly' && how.traits.writes)
      if (readOnly) {
        const ended = await this.#runReadOnly(session, work, cancellation)
        return { ended, token: call.token, inLane: false }
      }
      if (call.token !== null && how.traits.writes)
        return await this.#runWrite(session, work, { ...call, token: call.token, shard })
      const ended = await runAlone(this.#parts, session, work, cancellation)
      return { ended, token: call.token, inLane: false }
    } finally {
      giveBack(this.#parts, pool, { session, left: how.traits.leaves })
      if (call.known.facts.kind === 'ddl') trial.access.schemaChanged()
    }
  }

  /** A write whose client wants to know where it lies. */
  async #runWrite(
    session: Session,
    work: StatementWork,
    call: Pick<StatementCall, 'asksPosition' | 'cancellation'> & { token: SessionToken; shard: ShardRecord },
  ): Promise<Ran> {
    const { asksPosition = true, cancellation, token, shard } = call
    const position = new PositionBehind(session)
    const behind = asksPosition ? position.ask : undefined
    const ended = await runAlone(this.#parts, session, { ...work, behind }, cancellation)
    return { ended, token: tokenAfter(token, shard, await position.answer), inLane: false }
  }

  /** Postgres itself holds a statement to its promise to read only. */
  async #runReadOnly(session: Session, work: StatementWork, cancellation: Cancellation): Promise<WorkEnd> {
    const options: TransactionOptions = { isolation: 'read committed', readOnly: true }
    const { end, ends } = await runTransaction(this.#parts, session, { works: [work], options, cancellation })
    return ends[0] ?? { end, bytes: 0, serverMs: 0 }
  }

  async #transactionOn(
    access: ShardAccess,
    call: TransactionCall,
    { map, last }: { map: ShardMap; last: boolean },
  ): Promise<Pick<TransactionAnswer, 'node' | 'rowCounts' | 'token'> | null> {
    let node: NodeAccess | null = null
    try {
      const facts = await access.schemaFacts(call.cancellation)
      const placed = { ...call.options, shardKey: call.shardKey, shardId: call.shardId }
      const hasOwnPath = call.statements.some(({ known }) => changesPath(known.facts))
      for (const one of call.statements) {
        refuseHidden({ ...one, ...placed }, map, facts)
        refuseDoubleNames(one.known.facts, map, facts, hasOwnPath)
      }
      node = access.primary()
      const left = call.statements
        .map(({ known }) => traitsOf(known, facts).leaves)
        .reduce(worseLeft, 'nothing')
      const session = await node.pool.borrow(call.cancellation)
      this.#parts.metrics.routed('primary', 'alone')
      try {
        refuseOldMap(session, map)
        refuseSuperseded(call, map)
        forgetOthers(session, call.statements)
        const { statements, traceparent } = call
        const works = statements.map((one) => workOf({ ...one, traceparent }, map, facts))
        const readOnly = call.options.readOnly || access.record.status === 'readonly'
        const position = new PositionBehind(session)
        const behind = call.token === null || readOnly ? undefined : position.ask
        const { end, ends } = await runTransaction(this.#parts, session, {
          works,
          behind,
          options: { ...call.options, readOnly },
          cancellation: call.cancellation,
        })
        const written = await position.answer
        if (end.kind === 'lost' && end.outcome === 'aborted' && !last && call.cancellation.reason === null) {
          this.#parts.metrics.retried('lost')
          return null
        }
        endOrThrow(end, { writes: true })
        const rowCounts = ends.map((ended) => (ended.end.kind === 'completed' ? ended.end.rowCount : 0))
        const token =
          call.token === null || readOnly ? call.token : tokenAfter(call.token, access.record, written)
        return { node: node.node.id, rowCounts, token }
      } finally {
        giveBack(this.#parts, node.pool, { session, left })
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
    if (trial.call.cancellation.reason !== null || trial.call.consumer.isFinal === true) return false
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

  async #again(trial: Attempt, { ended: { end } }: Ran): Promise<null> {
    if (end.kind === 'lost' && isEnded(end.error)) await this.#untilReleased(trial)
    return null
  }

  /**
   * A read that no hold concerns meets one in its last moment, when the shard ends connections and takes no map that
   * there is: every connection that is kept would cost an attempt.
   */
  async #untilReleased({ shard, map, call }: Attempt): Promise<void> {
    if (shard.hold !== undefined && call.map() === map) await this.#holds.wait(shard, map, call)
  }

  /** After a failure to get a session: true when another node, or a newer map, may do better. */
  async #mayTryAgain(error: unknown, trial: Attempt, node: NodeAccess | null): Promise<boolean> {
    if (trial.call.cancellation.reason !== null) return false
    if (isFleetError(error, 'stale_map')) {
      this.#parts.metrics.retried('stale_map')
      await this.#untilReleased(trial)
      await trial.call.cancellation.until(this.#newer(trial.map, trial.call.map))
      return true
    }
    if (isEnded(error) && trial.call.consumer.isFinal !== true) {
      this.#parts.metrics.retried('lost')
      await this.#untilReleased(trial)
      return true
    }
    if (node === null || node.node.role === 'primary' || !isFleetError(error)) return false
    if (error.code !== 'shard_unavailable' && error.code !== 'wrong_database') return false
    trial.failedNodes.add(node)
    return true
  }
}

/** In a lane these mean: it writes after all, it waits for a lock, it takes long or was cancelled for another. */
const laneStates = new Set(['25006', '55P03', '57014'])

/** Any shard that reads may begin a transaction; each statement is looked at by itself. */
const reading = { kind: 'read' } as const

/** What may have committed part of its work before it failed. */
const isPartial = ({ facts }: KnownStatement): boolean => facts.kind === 'opaque' || facts.kind === 'utility'
