// What a backend gives to the conformance suite, and what the suite's cases share.
import { isFleetError, type ErrorCode, type FleetError } from '@fleetshard/core'
import { expect } from 'vitest'
import { systemClock } from '../../runtime/mod.ts'
import type {
  CatalogStore,
  KeyRevision,
  StoreChange,
  StoreCondition,
  StoreEntry,
  StoreRevision,
  StoreWrite,
  WatchEvent,
} from '../store.ts'

/** One real store, started for the suite. */
export interface StoreHarness extends AsyncDisposable {
  /** One more handle on the same store; the case disposes it. */
  open(): CatalogStore
  /** Forgets the history, as the store does by itself sooner or later. */
  compact(): Promise<void>
  /** Shortest lease that the store gives. */
  readonly ttlMsMin: number
  /** Its server, to be killed; null for a store without one. */
  readonly server: HarnessServer | null
}

/** A server and what can happen to it. */
export interface HarnessServer {
  /** kill -9, of all its processes. */
  kill(): Promise<void>
  start(): Promise<void>
  /** Stops it in its tracks, with its connections open. */
  freeze(): Promise<void>
  thaw(): Promise<void>
}

/** What a case gets: a handle, and a prefix that nobody else uses. */
export interface CaseContext {
  readonly harness: StoreHarness
  readonly store: CatalogStore
  readonly prefix: string
}

/** Cases by name: each is one sentence of the port. */
export type Cases = Readonly<Record<string, (context: CaseContext) => Promise<void>>>

/** How long a case waits for what must come. */
const patienceMs = 20_000

/** A signal that ends a case which waits in vain. */
export const patience = (): AbortSignal => AbortSignal.timeout(patienceMs)

export const put = (key: string, value: string): StoreWrite => ({ kind: 'put', key, value })
export const del = (key: string): StoreWrite => ({ kind: 'delete', key })
export const absent = (key: string): StoreCondition => ({ kind: 'absent', key })

/** Commits what must not conflict. */
export async function commit(
  store: CatalogStore,
  writes: readonly StoreWrite[],
  conditions: readonly StoreCondition[] = [],
): Promise<{ readonly revision: StoreRevision; readonly revisions: ReadonlyMap<string, KeyRevision> }> {
  const result = await store.commit(conditions, writes)
  if (result.kind === 'conflict') throw new Error('a commit conflicted')
  return result
}

export async function readMap(store: CatalogStore, prefix: string): Promise<Map<string, string>> {
  const { entries } = await store.read(prefix)
  return new Map(entries.map(({ key, value }) => [key, value]))
}

/** The next events of a watch; the watch is ended then. */
export async function take(
  store: CatalogStore,
  prefix: string,
  from: StoreRevision,
  count: number,
): Promise<WatchEvent[]> {
  const events: WatchEvent[] = []
  for await (const event of store.watch(prefix, from, patience())) {
    events.push(event)
    if (events.length === count) break
  }
  expect(events, 'events of the watch').toHaveLength(count)
  return events
}

/** The changes of batches, without revisions: `a=1`, `-a`. */
export function told(events: readonly WatchEvent[]): string[][] {
  return events.map((event) =>
    event.kind === 'compacted'
      ? ['compacted']
      : event.changes.map((change) =>
          change.kind === 'put' ? `${change.key}=${change.value}` : `-${change.key}`,
        ),
  )
}

/** Waits until the check holds. */
export async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const signal = patience()
  while (!(await check())) {
    if (signal.aborted) throw new Error(`waited in vain until ${what}`)
    await systemClock.sleep(10)
  }
}

/** The FleetError that a promise rejects with. */
export async function failure(promise: Promise<unknown>, code: ErrorCode): Promise<FleetError> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  )
  if (!isFleetError(error)) throw new Error(`no FleetError but ${String(error)}`)
  expect(error.code).toBe(code)
  return error
}

/** Collects a watch in the background until it is stopped. */
export function record(store: CatalogStore, prefix: string, from: StoreRevision): Recording {
  const stop = new AbortController()
  const events: WatchEvent[] = []
  const ended = (async () => {
    for await (const event of store.watch(prefix, from, stop.signal)) events.push(event)
  })()
  return {
    events,
    ended,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await ended
    },
  }
}

/** A running watch. */
export interface Recording extends AsyncDisposable {
  readonly events: readonly WatchEvent[]
  /** Resolves when the watch has ended. */
  readonly ended: Promise<void>
}

/** What the entries are after the changes. */
export function replay(entries: readonly StoreEntry[], events: readonly WatchEvent[]): StoreEntry[] {
  const state = new Map(entries.map((entry) => [entry.key, entry]))
  for (const event of events) {
    if (event.kind === 'compacted') throw new Error('the history was compacted')
    for (const change of event.changes) apply(state, change)
  }
  return [...state.values()].toSorted((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)))
}

function apply(state: Map<string, StoreEntry>, change: StoreChange): void {
  if (change.kind === 'put') {
    const { key, value, revision } = change
    state.set(key, { key, value, revision })
  } else if (!state.delete(change.key)) {
    throw new Error(`a delete was invented: ${change.key}`)
  }
}
