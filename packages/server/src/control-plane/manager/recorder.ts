// What is written of a change: before it is made, so that none happens without a record, and when its outcome is known.
import { FleetError } from '@fleetshard/core'
import { auditUnavailable, type AuditEntry, type AuditLog } from '../../audit/mod.ts'
import type { Call } from '../../runtime/http/mod.ts'
import { addressOf, EVENTS, type Logger } from '../../runtime/mod.ts'
import { forwardedHeader } from './forward.ts'
import type { ManagerMetrics } from './metrics.ts'

/** Where changes are written down. */
export interface RecorderParts {
  readonly log: Logger
  readonly metrics: Pick<ManagerMetrics, 'changed'>
  readonly audit: Pick<AuditLog, 'append'>
}

/** Writes changes down. */
export interface Recorder {
  /** @throws FleetError `audit_unavailable`, `catalog_unavailable`: then nothing may be changed */
  begun(entry: AuditEntry): Promise<void>
  /**
   * Where the end cannot be recorded that is what the caller is told, unless the change has failed anyway.
   * @throws FleetError `audit_unavailable`
   */
  ended(entry: AuditEntry, elapsedMs: number, failure: unknown): Promise<void>
}

/** A recorder of one manager. */
export function createRecorder({ log, metrics, audit }: RecorderParts): Recorder {
  return {
    async begun(entry) {
      await audit.append(entry)
    },
    async ended(entry, elapsedMs, failure) {
      // What was refused because it could not be recorded.
      if (failure instanceof FleetError && failure.code === 'audit_unavailable') return
      const { what, target, outcome, traceId } = entry
      metrics.changed({ what, outcome: outcome ?? 'ok', elapsedMs })
      try {
        const kept = await audit.append(entry)
        log.info({ event: EVENTS.change, ...kept, elapsed_ms: Math.round(elapsedMs) }, 'change')
      } catch (error) {
        log.error({ what, target, outcome, traceId, err: error }, 'the end of a change could not be recorded')
        if (failure === null)
          throw auditUnavailable('the change was made, and its end could not be recorded', error)
      }
    },
  }
}

/** Who asks, from where, and why. */
export function actorOf({
  principal: { kind, subject, role },
  request,
  reason,
  traceId,
}: Pick<Call, 'principal' | 'request' | 'reason' | 'traceId'>): Pick<
  AuditEntry,
  'who' | 'from' | 'reason' | 'traceId'
> {
  const via = request.headers[forwardedHeader]
  const address = addressOf(request.raw)
  const from = typeof via === 'string' ? `${address}, forwarded by ${via}` : address
  return { who: { kind, subject, role }, from, reason, traceId }
}
