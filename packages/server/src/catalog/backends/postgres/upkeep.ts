// What a Postgres catalog needs done now and then, by whichever process is there: ending leases that are over,
// and forgetting old events, so that nothing grows without bound.
import type { Clock } from '@fleetshard/core'
import { createBackoff } from '../../deadline.ts'
import type { Connections } from './connections.ts'
import { catalogSchema } from './schema.ts'

const sweepEveryMs = 500
const compactEveryMs = 60_000

/** Events are kept while they are within all three. */
export const eventsAgeMaxMs = 3_600_000
export const eventsCountMax = 10_000
export const eventsBytesMax = 64 * 1024 * 1024

/** Looks first, without the lock, since nearly always there is nothing to do. */
const sweepText = `
select case when exists (select 1 from ${catalogSchema}.leases l where l.expires_at <= clock_timestamp())
  then ${catalogSchema}.sweep() end`

/** Forgets events beyond the given bounds. */
export async function compactEvents(
  connections: Connections,
  bounds: { readonly ageMs: number; readonly count: number; readonly bytes: number },
  signal?: AbortSignal,
): Promise<void> {
  await connections.query(
    {
      name: 'compact',
      text: `select ${catalogSchema}.compact(make_interval(secs => $1::float8 / 1000), $2, $3)`,
      values: [bounds.ageMs, bounds.count, bounds.bytes],
    },
    signal,
  )
}

/** Until the signal aborts, through outages. Never rejects. */
export async function keepUp(
  deps: { readonly clock: Clock; readonly connections: Connections },
  signal: AbortSignal,
): Promise<void> {
  const { clock, connections } = deps
  const backoff = createBackoff(clock)
  let compactAtMs = clock.monotonic() + compactEveryMs
  while (!signal.aborted) {
    try {
      await connections.query({ name: 'sweep', text: sweepText, values: [] }, signal)
      if (clock.monotonic() >= compactAtMs) {
        compactAtMs = clock.monotonic() + compactEveryMs
        const bounds = { ageMs: eventsAgeMaxMs, count: eventsCountMax, bytes: eventsBytesMax }
        await compactEvents(connections, bounds, signal)
      }
      backoff.succeeded()
      await clock.sleep(sweepEveryMs, signal)
    } catch {
      // An outage shows in the operations of others; this goes on when it is over.
      await backoff.wait(signal).catch(() => undefined)
    }
  }
}
