// The one place that every change passes: only while this manager leads, within its bounds, and with one line of
// who, what, before, after and outcome for the log and the audit.
import { randomUUID } from 'node:crypto'
import { FleetError, toFleetError, type Clock, type JobRecord } from '@fleetshard/core'
import type { AuditEntry } from '../../audit/mod.ts'
import type { Leadership, StoreCondition } from '../../catalog/mod.ts'
import { traceparentOf, type Call } from '../../runtime/http/mod.ts'
import type { Leader } from './leader.ts'
import { actorOf, createRecorder, type RecorderParts } from './recorder.ts'

/** Changes under way at once in one manager. */
export const changesMax = 256
/** After so long a change is given up; creating embedded servers takes the longest. */
const changeMsMax = 300_000

/** A change while it is made. */
export interface Change {
  /** Part of every commit: holds only while this manager leads. */
  readonly condition: StoreCondition
  /** Aborts when leadership is lost, the manager stops, or the change takes too long. */
  readonly signal: AbortSignal
  /** For the record of a job: the trace that it belongs to, where there is one. */
  readonly traced: Pick<JobRecord, 'trace'>
  /** Notes the record as it was, for the audit. */
  before(record: unknown): void
  /** Notes the record as it is now, for the audit. */
  after(record: unknown): void
}

/** What is to be changed. */
export interface ChangeName {
  readonly what: string
  readonly target: string
}

/** Makes changes as the leader. */
export interface Changes {
  /**
   * Nothing is changed before the audit log says that it will be.
   * @throws FleetError `not_leader`, `shutting_down`, `overloaded`, `audit_unavailable`, and what `work` throws
   */
  run<T>(name: ChangeName, call: Call, work: (change: Change) => Promise<T>): Promise<T>
  /** Takes no more and waits for those under way. */
  drain(): Promise<void>
}

interface ChangesParts extends RecorderParts {
  readonly clock: Clock
  readonly leader: Pick<Leader, 'leadership'>
}

/** No change is under way. */
export function createChanges(parts: ChangesParts): Changes {
  const { clock } = parts
  const recorder = createRecorder(parts)
  const underWay = new Set<Promise<unknown>>()
  let isDraining = false

  async function make<T>(name: ChangeName, call: Call, work: (change: Change) => Promise<T>): Promise<T> {
    const began = clock.monotonic()
    const entryOf = (told: Pick<AuditEntry, 'phase' | 'outcome'>): AuditEntry => ({
      ...name,
      ...told,
      ...actorOf(call),
      at: new Date(clock.now()).toISOString(),
      change,
      before,
      after,
    })
    const change = randomUUID()
    let before: unknown = null
    let after: unknown = null
    let phase: AuditEntry['phase'] = 'refused'
    let failure: unknown = null
    const stop = new AbortController()
    const cancelTimer = clock.after(changeMsMax, () => {
      stop.abort(new FleetError('deadline_exceeded', 'the change took too long and was given up'))
    })
    try {
      const leadership = leadershipOf(parts.leader.leadership())
      await recorder.begun(entryOf({ phase: 'begun', outcome: null }))
      phase = 'ended'
      const signal = AbortSignal.any([stop.signal, leadership.lost])
      return await work({
        condition: leadership.condition,
        signal,
        traced: traceOf(call),
        before: (state) => (before = state),
        after: (state) => (after = state),
      })
    } catch (error) {
      failure = error
      throw error
    } finally {
      cancelTimer()
      const outcome = failure === null ? 'ok' : toFleetError(failure).code
      const elapsedMs = clock.monotonic() - began
      await recorder.ended(entryOf({ phase, outcome }), elapsedMs, failure)
    }
  }

  return {
    async run(name, call, work) {
      if (isDraining) throw new FleetError('shutting_down', 'this manager is shutting down')
      if (underWay.size >= changesMax) {
        throw new FleetError('overloaded', `${String(changesMax)} changes are under way already`)
      }
      const made = make(name, call, work)
      underWay.add(made)
      try {
        return await made
      } finally {
        underWay.delete(made)
      }
    },
    async drain() {
      isDraining = true
      await Promise.allSettled(underWay)
    },
  }
}

function traceOf({ request }: Call): Pick<JobRecord, 'trace'> {
  const trace = traceparentOf(request.raw)
  return trace === null ? {} : { trace }
}

function leadershipOf(leadership: Leadership | null): Leadership {
  if (leadership?.isLeader() === true) return leadership
  throw new FleetError('not_leader', 'this manager does not lead any more', {
    hint: 'try again: another manager takes over within seconds',
  })
}
