// Watches of the Postgres backend: the event table read from a position on, woken by the listener, repaired by
// polling. Watches of one store that stand at one place share their reads.
import { toFleetError, type Clock } from '@fleetshard/core'
import type { Logger } from '../../../runtime/mod.ts'
import { createBackoff, unavailable, withDeadline } from '../../deadline.ts'
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
      order by e.revision, e.position offset $2 limit 1),
    m.revision) as last
  from ${catalogSchema}.meta m
)
select p.compacted, p.head, p.last, e.revision, e.key, e.value
from page p
left join ${catalogSchema}.events e on e.revision > $1 and e.revision <= p.last
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
  readonly pages: EventPages
  readonly wake: Wake
}

type Page =
  | { readonly kind: 'compacted' }
  | {
      readonly kind: 'page'
      readonly last: string
      readonly isWhole: boolean
      readonly batches: readonly Batch[]
    }
type Batch = Extract<WatchEvent, { readonly kind: 'batch' }>

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
    const page = await deps.pages.read(position, signal).catch((error: unknown) => {
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
    for (const { revision, changes } of page.batches) {
      const own = changes.filter(({ key }) => key.startsWith(prefix))
      if (own.length === 0) continue
      yield { kind: 'batch', revision, changes: own }
      if (signal.aborted) return
    }
    position = page.last
    if (page.isWhole) await deps.wake.wait(seen, signal, pollEveryMs)
  }
}

/** The reads of a store's watches. */
export class EventPages {
  readonly #clock: Clock
  readonly #connections: Connections
  readonly #wake: Wake
  readonly #deadlineMs: number
  /** By position and number of notifications: a read that began before the last of them may lack what it told. */
  readonly #reading = new Map<string, Promise<Page>>()

  constructor(parts: {
    readonly clock: Clock
    readonly connections: Connections
    readonly wake: Wake
    readonly deadlineMs: number
  }) {
    this.#clock = parts.clock
    this.#connections = parts.connections
    this.#wake = parts.wake
    this.#deadlineMs = parts.deadlineMs
  }

  /** What comes after that position. @throws as `Connections.query` */
  read(position: string, signal: AbortSignal): Promise<Page> {
    const key = `${String(this.#wake.count())} ${position}`
    let reading = this.#reading.get(key)
    if (reading === undefined) {
      reading = this.#read(position).finally(() => this.#reading.delete(key))
      reading.catch(() => undefined) // whoever still waits for it is told
      this.#reading.set(key, reading)
    }
    const shared = reading
    return withDeadline(this.#clock, this.#deadlineMs, signal, () => shared)
  }

  async #read(position: string): Promise<Page> {
    const values = [position, pageEventsMin]
    const { rows } = await this.#connections.query<PageRow>({ name: 'watch', text: pageText, values })
    const [first] = rows
    if (first === undefined) throw unavailable('the catalog has no state')
    const at = BigInt(position)
    // A head before our position: the database was replaced by an older one.
    if (BigInt(first.compacted) > at || BigInt(first.head) < at) return { kind: 'compacted' }
    const { last, head } = first
    return { kind: 'page', last, isWhole: last === head, batches: groupByRevision(rows) }
  }
}

function groupByRevision(rows: readonly PageRow[]): Batch[] {
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
