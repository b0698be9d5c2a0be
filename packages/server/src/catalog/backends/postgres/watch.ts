// Watches of the Postgres backend: the event table read from a position on, woken by the listener, repaired by
// polling.
import { toFleetError, type Clock } from '@fleetshard/core'
import type { Logger } from '../../../runtime/mod.ts'
import { createBackoff, unavailable } from '../../deadline.ts'
import type { KeyRevision, StoreChange, StoreRevision, WatchEvent } from '../../store.ts'
import type { Wake } from '../../wake.ts'
import type { Connections } from './connections.ts'
import { catalogSchema } from './schema.ts'

/** How many events are read at once, rounded up to a whole revision. */
const pageEventsMin = 256
/** How late a watch may be when a notification is lost. */
const pollEveryMs = 1_000

/** One statement is one snapshot: what it says of compaction is true of the events beside it. */
const pageText = `
with page as (
  select m.compacted, m.revision as head, coalesce(
    (select e.revision from ${catalogSchema}.events e where e.revision > $1
      order by e.revision, e.position offset $3 limit 1),
    m.revision) as last
  from ${catalogSchema}.meta m
)
select p.compacted, p.head, p.last, e.revision, e.key, e.value
from page p
left join ${catalogSchema}.events e
  on e.revision > $1 and e.revision <= p.last and starts_with(e.key, $2)
order by e.revision, e.position`

/** bigint comes as text. The event's columns are null in the one row of a page without events. */
interface PageRow {
  readonly compacted: string
  readonly head: string
  readonly last: string
  readonly revision: string | null
  readonly key: string | null
  readonly value: string | null
}

export interface WatchDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly connections: Connections
  readonly wake: Wake
}

type Page =
  | { readonly kind: 'compacted' }
  | { readonly kind: 'page'; readonly last: string; readonly batches: readonly WatchEvent[] }

/** See the port. Ends without an error when the signal aborts. */
export async function* watchEvents(
  deps: WatchDeps,
  prefix: string,
  from: StoreRevision,
  signal: AbortSignal,
): AsyncIterable<WatchEvent> {
  const backoff = createBackoff(deps.clock)
  let position: string = from
  while (!signal.aborted) {
    const seen = deps.wake.count()
    const page = await readPage(deps, prefix, position, signal).catch((error: unknown) => {
      if (!signal.aborted)
        deps.log.debug({ code: toFleetError(error).code, prefix }, 'a watch is interrupted')
      return null
    })
    if (signal.aborted) return
    if (page === null) {
      await backoff.wait(signal).catch(() => undefined)
      continue
    }
    backoff.succeeded()
    if (page.kind === 'compacted') {
      yield { kind: 'compacted' }
      return
    }
    for (const batch of page.batches) {
      yield batch
      if (signal.aborted) return
    }
    const caughtUp = page.last === position
    position = page.last
    if (caughtUp) await deps.wake.wait(seen, signal, pollEveryMs)
  }
}

async function readPage(
  deps: WatchDeps,
  prefix: string,
  position: string,
  signal: AbortSignal,
): Promise<Page> {
  const values = [position, prefix, pageEventsMin]
  const { rows } = await deps.connections.query<PageRow>({ name: 'watch', text: pageText, values }, signal)
  const [first] = rows
  if (first === undefined) throw unavailable('the catalog has no state')
  const at = BigInt(position)
  // A head before our position: the database was replaced by an older one.
  if (BigInt(first.compacted) > at || BigInt(first.head) < at) return { kind: 'compacted' }
  return { kind: 'page', last: first.last, batches: groupByRevision(rows) }
}

function groupByRevision(rows: readonly PageRow[]): WatchEvent[] {
  const batches = new Map<string, StoreChange[]>()
  for (const { revision, key, value } of rows) {
    if (revision === null || key === null) continue
    const changes = batches.get(revision) ?? []
    batches.set(revision, changes)
    changes.push(
      value === null
        ? { kind: 'delete', key }
        : { kind: 'put', key, value, revision: revision as KeyRevision },
    )
  }
  return [...batches].map(([revision, changes]) => ({
    kind: 'batch',
    revision: revision as StoreRevision,
    changes,
  }))
}
