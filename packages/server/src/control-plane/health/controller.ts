// The health controller: one leader among the managers watches every shard, begins failovers, and carries open ones on.
// Runs inside the manager process; its leadership is an election of its own.
import {
  toFleetError,
  type JobId,
  type Lsn,
  type QuorumRecord,
  type ShardId,
  type ShardRecord,
} from '@fleetshard/core'
import { leadWhileElected, type CatalogState, type Stored } from '../../catalog/mod.ts'
import type { Service } from '../../runtime/mod.ts'
import { EVENTS, untilAborted } from '../../runtime/mod.ts'
import {
  declareFailover,
  obstacleTo,
  openFailovers,
  recordRefusal,
  supersede,
  type Incident,
} from './begin.ts'
import { failoverJobType, type FailoverJob } from './job.ts'
import { unsettledStates } from './machine.ts'
import { nowText, primaryOf, type HealthParts, type Leading } from './parts.ts'
import { NodeProbers } from './probers.ts'
import { hasMissed, placesOfMissed, probeShard, type ShardProbe } from './probes.ts'
import { durabilityOf, isSynchronous, quorumOf } from './quorum.ts'
import { isAttached, keepQuorum, wantedQuorum } from './quorum-upkeep.ts'
import { keepReplicas, type ReplicaWatch } from './replica-upkeep.ts'
import { runFailover } from './runner.ts'
import { HealthMetrics } from './metrics.ts'
import { moveNodes } from './shard-change.ts'
import { setsOf } from './steps.ts'
import { judge, missesMax, unwatched, watchedAfter, type Verdict, type Watched } from './verdict.ts'

/** Name of the election. */
export const healthElection = 'health'
/** Shards looked at at once. */
const looksMax = 64
/** How often it is seen to who is due. */
const tickMs = 50
/** A suspect primary is looked at that often. */
const suspectMs = 250

/** What the controller keeps of one shard while it leads. */
interface ShardWatch {
  watched: Watched
  /** `clock.monotonic()` of the next look. */
  dueMs: number
  isBusy: boolean
  verdict: Verdict
  lastPosition: Lsn | null
  quorum: Stored<QuorumRecord> | null
  /** False until the record was read once. */
  knowsQuorum: boolean
  unattachedSinceMs: number | null
  readonly replicas: ReplicaWatch
  /** The reason that was written down last; null when the primary is there. */
  refusedFor: string | null
}

/** A controller that does nothing until it is run, and nothing while another leads. */
export interface HealthController extends Service {
  isLeader(): boolean
}

/** Made by the composition root. */
export function createHealthController(parts: HealthParts): HealthController {
  let leader: Leader | null = null
  const figures = new HealthMetrics(parts.metrics, () => leader?.counts() ?? null)
  return {
    name: 'health',
    isLeader: () => leader !== null,
    async run(signal) {
      const { log, clock, catalog, options } = parts
      const since = nowText(parts)
      const candidacy = {
        name: healthElection,
        candidate: { id: options.id, url: null, since },
        ttlMs: options.leaseTtlMs,
      }
      await parts.view.loaded(signal).catch(() => undefined)
      await leadWhileElected(
        { store: catalog.store, clock, log },
        candidacy,
        async (leadership, lost) => {
          using probers = new NodeProbers(parts)
          leader = new Leader({ parts, leadership, probers, figures, signal: lost })
          log.info({ manager: options.id }, 'this manager watches the shards')
          try {
            await leader.run()
          } finally {
            figures.keepOnly(new Set())
            leader = null
          }
        },
        signal,
      )
    },
    drain: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

class Leader {
  readonly #leading: Leading
  readonly #watches = new Map<ShardId, ShardWatch>()
  /** Jobs that are being carried on. */
  readonly #running = new Map<JobId, Promise<void>>()
  #looks = 0
  /** What is looked at by `#lastState`. */
  #shards: readonly { readonly shard: ShardRecord; readonly watch: ShardWatch }[] = []
  #lastState: CatalogState | null = null

  constructor(leading: Leading) {
    this.#leading = leading
  }

  counts(): Record<Verdict['kind'], number> {
    const counts = { healthy: 0, suspect: 0, isolated: 0, down: 0 }
    for (const { verdict } of this.#watches.values()) counts[verdict.kind] += 1
    return counts
  }

  async run(): Promise<void> {
    const { parts, signal } = this.#leading
    const { clock } = parts
    while (!signal.aborted) {
      this.#carryOn()
      this.#lookAround()
      await clock.sleep(tickMs, signal).catch(() => undefined)
    }
    await Promise.allSettled(this.#running.values())
    await untilAborted(signal)
  }

  /** Every open job has a runner; one that fails is begun again at the next tick. */
  #carryOn(): void {
    for (const [id, { record }] of this.#leading.parts.view.current().jobs) {
      const isOpen = record.status === 'pending' || record.status === 'running'
      if (record.type !== failoverJobType || !isOpen || this.#running.has(id)) continue
      this.#start(id)
    }
  }

  #start(id: JobId): void {
    const { parts, signal } = this.#leading
    const running = runFailover(this.#leading, id)
      .then((state) => {
        parts.log.info({ event: EVENTS.failover_ended, job: id, state }, 'failover has ended')
        return this.#leading.figures.ended(parts, id)
      })
      .catch((error: unknown) => {
        if (!signal.aborted) parts.log.error({ err: error, job: id }, 'a failover cannot be carried on')
        return parts.clock.sleep(suspectMs, signal).catch(() => undefined)
      })
      .finally(() => this.#running.delete(id))
    this.#running.set(id, running)
  }

  #lookAround(): void {
    const { parts } = this.#leading
    const nowMs = parts.clock.monotonic()
    const state = parts.view.current()
    if (state !== this.#lastState) this.#take(state)
    for (const { shard, watch } of this.#shards) {
      if (watch.dueMs > nowMs || watch.isBusy || this.#looks >= looksMax) continue
      void this.#look(shard, watch)
    }
  }

  /** What is in the catalog no more is forgotten: a shard's database is let go of as soon as the shard is. */
  #take(state: CatalogState): void {
    this.#lastState = state
    const shards = [...state.keyspaces.values()].flatMap((keyspace) => keyspace.shards)
    const ids = new Set(shards.map(({ id }) => id))
    for (const id of this.#watches.keys()) if (!ids.has(id)) this.#watches.delete(id)
    this.#shards = shards.map((shard) => ({ shard, watch: this.#watchOf(shard) }))
    const nodes = new Set(shards.flatMap((shard) => shard.nodes.map((node) => node.id)))
    this.#leading.probers.keepOnly(nodes)
    this.#leading.figures.keepOnly(nodes)
  }

  #watchOf({ id }: ShardRecord): ShardWatch {
    let watch = this.#watches.get(id)
    if (watch === undefined) {
      const { clock, options } = this.#leading.parts
      watch = {
        watched: unwatched,
        // Spread over the interval, so that a thousand shards are not looked at in one moment.
        dueMs: clock.monotonic() + ((this.#watches.size * 37) % options.probeMs),
        isBusy: false,
        verdict: { kind: 'healthy' },
        lastPosition: null,
        quorum: null,
        knowsQuorum: false,
        unattachedSinceMs: null,
        refusedFor: null,
        replicas: new Map(),
      }
      this.#watches.set(id, watch)
    }
    return watch
  }

  async #look(shard: ShardRecord, watch: ShardWatch): Promise<void> {
    const { parts, signal } = this.#leading
    watch.isBusy = true
    this.#looks += 1
    const beganMs = parts.clock.monotonic()
    try {
      await this.#judge(shard, watch)
    } catch (error) {
      if (!signal.aborted) {
        const { code, message } = toFleetError(error)
        parts.log.warn({ shard: shard.id, code, reason: message }, 'a shard could not be looked after')
      }
    } finally {
      this.#looks -= 1
      watch.isBusy = false
      watch.dueMs = beganMs + (watch.verdict.kind === 'healthy' ? parts.options.probeMs : suspectMs)
    }
  }

  async #judge(shard: ShardRecord, watch: ShardWatch): Promise<void> {
    const { parts } = this.#leading
    const open = openFailovers(this.#leading, shard.id)
    if (open.some(({ state }) => unsettledStates.has(state))) {
      Object.assign(watch, { watched: unwatched, verdict: { kind: 'healthy' }, knowsQuorum: false })
      return
    }
    const asksAgent = watch.watched.misses >= missesMax - 1
    const probe = await probeShard(this.#leading, shard, asksAgent)
    this.#leading.figures.looked(probe)
    if (hasMissed(probe)) await moveNodes(this.#leading, shard, await placesOfMissed(this.#leading, probe))
    const nowMs = parts.clock.monotonic()
    watch.watched = watchedAfter(watch.watched, probe, nowMs)
    if (!watch.knowsQuorum) await this.#readQuorum(shard, watch)
    const sets = watch.quorum?.record.sets ?? [null]
    const before = watch.verdict.kind
    watch.verdict = judge(watch.watched, probe, { nowMs, isSynchronous: isSynchronous(sets) })
    if (watch.verdict.kind !== before) {
      const line = { event: EVENTS.primary_seen, shard: shard.id, before, ...watch.verdict }
      parts.log.info(line, 'a primary is seen differently')
    }
    if (watch.verdict.kind === 'healthy') await this.#healthy({ shard, watch, probe, open })
    if (watch.verdict.kind === 'down') await this.#down({ shard, watch, probe, open })
  }

  async #readQuorum(shard: ShardRecord, watch: ShardWatch): Promise<void> {
    const { parts, signal } = this.#leading
    watch.quorum = await parts.catalog.quorums.get(shard.keyspace, shard.id, signal)
    watch.knowsQuorum = true
  }

  async #healthy(found: {
    readonly shard: ShardRecord
    readonly watch: ShardWatch
    readonly probe: ShardProbe
    readonly open: readonly FailoverJob[]
  }): Promise<void> {
    const { shard, watch, probe, open } = found
    watch.refusedFor = null
    const primary = primaryOf(shard)
    if (primary === null || probe.primary?.kind !== 'answered' || probe.primary.probe.inRecovery) return
    watch.lastPosition = probe.primary.probe.position
    // The map that is known may be older than a failover: the agent refuses what is of an older term.
    if (shard.hold !== undefined) return
    await keepReplicas(this.#leading, { shard, primary, probe, open, watch: watch.replicas })
    const { parts } = this.#leading
    const keyspace = parts.view.current().keyspaces.get(shard.keyspace)
    const mode = durabilityOf(keyspace?.keyspace.durability, shard)
    const full = quorumOf(mode, primary.id, shard.nodes)
    const isThere = full === null || isAttached(full, probe.primary.probe)
    watch.unattachedSinceMs = isThere ? null : (watch.unattachedSinceMs ?? parts.clock.monotonic())
    const attachment = {
      shard,
      primary,
      mode,
      probe: probe.primary.probe,
      missingSinceMs: watch.unattachedSinceMs,
    }
    if (full === null && watch.quorum === null && wantedQuorum(this.#leading, attachment) === null) return
    watch.knowsQuorum = false // read anew if this fails
    watch.quorum = await keepQuorum(this.#leading, attachment, watch.quorum)
    watch.knowsQuorum = true
  }

  async #down({
    shard,
    watch,
    probe,
    open,
  }: {
    readonly shard: ShardRecord
    readonly watch: ShardWatch
    readonly probe: ShardProbe
    readonly open: readonly FailoverJob[]
  }): Promise<void> {
    const primary = primaryOf(shard)
    if (primary === null || watch.verdict.kind !== 'down') return
    if (open.some(({ state }) => state === 'requested')) return
    const incident: Incident = {
      shard,
      probe,
      primary: primary.id,
      seen: watch.verdict.seen,
      lastPosition: watch.lastPosition,
      isSynchronous: isSynchronous(await setsOf(this.#leading, shard)),
    }
    const obstacle = obstacleTo(this.#leading, incident)
    if (obstacle !== null) {
      if (watch.refusedFor === obstacle) return
      watch.refusedFor = obstacle
      this.#leading.parts.log.error({ shard: shard.id, obstacle }, 'a primary is down, and nobody takes over')
      await recordRefusal(this.#leading, incident, obstacle)
      return
    }
    for (const job of open) await supersede(this.#leading, job)
    this.#start(await declareFailover(this.#leading, incident))
    watch.watched = unwatched
  }
}
