// A failover as a trace: its record says when it was in which state, so that the spans are made when it has ended, and a
// manager that took over half-way tells of all of it.
import { SPAN_ATTRIBUTES } from '../../runtime/mod.ts'
import type { FailoverJob } from './job.ts'
import type { HealthParts } from './parts.ts'

/** One span for the job, one for each state that it was in. Part of the trace of the order, where there was one. */
export function traceFailover(
  { clock, tracing = null }: Pick<HealthParts, 'clock' | 'tracing'>,
  { stored, state, detail }: FailoverJob,
): void {
  const [first] = detail.steps
  if (tracing === null || first === undefined) return
  const { record } = stored
  /** Of a wall clock time. */
  const monotonic = (text: string): number => clock.monotonic() - (clock.now() - Date.parse(text))
  const { job, jobType, keyspace, shard } = SPAN_ATTRIBUTES
  const span = tracing.begin(detail.kind, {
    parent: record.trace ?? null,
    startMs: monotonic(first.at),
    attributes: {
      [job]: record.id,
      [jobType]: record.type,
      [keyspace]: record.keyspace,
      [shard]: detail.shard,
      'fleetshard.failover.from': detail.from,
      'fleetshard.failover.to': detail.to ?? '',
      'fleetshard.failover.state': state,
    },
  })
  for (const step of detail.steps) {
    const startMs = monotonic(step.at)
    span.child(step.state, { startMs }).end(startMs + step.ms)
  }
  if (record.status === 'failed') span.fail(record.errorCode ?? 'failover_refused')
  span.end(monotonic(detail.enteredAt))
}
