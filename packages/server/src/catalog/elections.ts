// Elections: one leader a name, by a leased key. A leader's commits carry its condition, so that a leader that
// slept through its loss changes nothing.
import { isFleetError, toFleetError } from '@fleetshard/core'
import type { Backoff } from './deadline.ts'
import { createBackoff } from './deadline.ts'
import { keys } from './keys.ts'
import { holdLease, type HeldLease, type LeaseDeps } from './leases.ts'
import { putRecord, readRecord, revisionOf, type RecordAt } from './record-set.ts'
import { codecs, type CandidateRecord } from './records.ts'
import type { CatalogStore, StoreCondition } from './store.ts'

/** Leadership won. */
export interface Leadership extends AsyncDisposable {
  readonly name: string
  /** Aborts before another could be elected. */
  readonly lost: AbortSignal
  /** True while leadership is certain, by the clock. */
  isLeader(): boolean
  /** Holds while this leadership holds; part of every commit made as leader. */
  readonly condition: StoreCondition
  /** Gives it up at once, best effort. Idempotent, never throws. */
  resign(): Promise<void>
}

export interface Candidacy {
  /** Of the election: the last part of its key. */
  readonly name: string
  readonly candidate: CandidateRecord
  /** How long a dead leader keeps others waiting. */
  readonly ttlMs: number
}

function recordAt(store: CatalogStore, name: string): RecordAt<CandidateRecord> {
  return { store, codec: codecs.candidate, key: keys.election(name), what: `election ${name}` }
}

/**
 * Waits until elected, through outages of the catalog.
 * @throws the signal's reason when it aborts, and nothing else
 */
export async function campaign(
  deps: LeaseDeps,
  candidacy: Candidacy,
  signal: AbortSignal,
): Promise<Leadership> {
  const backoff = createBackoff(deps.clock)
  for (;;) {
    signal.throwIfAborted()
    try {
      await waitUntilVacant(deps.store, candidacy.name, signal)
      signal.throwIfAborted()
      const leadership = await tryToWin(deps, candidacy, signal)
      backoff.succeeded()
      if (leadership !== null) return leadership
    } catch (error) {
      await waitAfter(deps, error, backoff, signal)
    }
  }
}

async function waitAfter(
  deps: LeaseDeps,
  error: unknown,
  backoff: Backoff,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted()
  if (!isFleetError(error, 'catalog_unavailable') && !isFleetError(error, 'lease_lost')) {
    deps.log.error({ err: error, code: toFleetError(error).code }, 'an election met an error; it goes on')
  }
  await backoff.wait(signal)
}

/** Any value under the key is a leader, also one that cannot be read: its lease will end it. */
async function waitUntilVacant(store: CatalogStore, name: string, signal: AbortSignal): Promise<void> {
  const key = keys.election(name)
  const { entries, revision } = await store.read(key, signal)
  if (!entries.some((entry) => entry.key === key)) return
  const enough = new AbortController()
  for await (const event of store.watch(key, revision, AbortSignal.any([signal, enough.signal]))) {
    if (event.kind === 'compacted') return
    if (event.changes.some((change) => change.key === key && change.kind === 'delete')) enough.abort()
  }
}

async function tryToWin(
  deps: LeaseDeps,
  { name, candidate, ttlMs }: Candidacy,
  signal: AbortSignal,
): Promise<Leadership | null> {
  const at = recordAt(deps.store, name)
  const lease = await holdLease(deps, ttlMs, signal)
  try {
    const put = putRecord(at, candidate, lease.lease)
    const result = await deps.store.commit([{ kind: 'absent', key: at.key }], [put], signal)
    if (result.kind === 'committed') {
      return lead(name, lease, { kind: 'revision', key: at.key, revision: revisionOf(result, at.key) })
    }
  } catch (error) {
    // The outcome is unknown; without its lease the key vanishes, if it is there.
    await lease.release()
    throw error
  }
  await lease.release()
  return null
}

function lead(name: string, lease: HeldLease, condition: StoreCondition): Leadership {
  return {
    name,
    lost: lease.lost,
    isLeader: () => lease.isHeld(),
    condition,
    resign: () => lease.release(),
    [Symbol.asyncDispose]: () => lease.release(),
  }
}

/**
 * Campaigns and leads, again and again, until the signal aborts. `lead` gets a signal that aborts with the
 * leadership; when it returns or throws, the leadership is resigned and the next campaign begins.
 */
export async function leadWhileElected(
  deps: LeaseDeps,
  candidacy: Candidacy,
  work: (leadership: Leadership, signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const backoff = createBackoff(deps.clock)
  while (!signal.aborted) {
    const leadership = await campaign(deps, candidacy, signal).catch(() => null)
    if (leadership === null) return
    const leading = AbortSignal.any([signal, leadership.lost])
    try {
      await work(leadership, leading)
      backoff.succeeded()
    } catch (error) {
      if (!leading.aborted) deps.log.error({ err: error, election: candidacy.name }, 'the leader failed')
    } finally {
      await leadership.resign()
    }
    // A leader that fails at once must not turn the election into a busy loop.
    await backoff.wait(signal).catch(() => undefined)
  }
}

/** The leader now. */
export async function readLeader(
  store: CatalogStore,
  name: string,
  signal?: AbortSignal,
): Promise<CandidateRecord | null> {
  return (await readRecord(recordAt(store, name), signal))?.record ?? null
}

/** The leader now and at every change; ends when the signal aborts. Waits through outages. */
export async function* watchLeader(
  deps: LeaseDeps,
  name: string,
  signal: AbortSignal,
): AsyncIterable<CandidateRecord | null> {
  const backoff = createBackoff(deps.clock)
  while (!signal.aborted) {
    try {
      for await (const leader of followLeader(deps.store, name, signal)) {
        backoff.succeeded()
        yield leader
      }
    } catch (error) {
      await waitAfter(deps, error, backoff, signal).catch(() => undefined)
    }
  }
}

/** Until the watch ends: by a compaction or by the signal. */
async function* followLeader(
  store: CatalogStore,
  name: string,
  signal: AbortSignal,
): AsyncIterable<CandidateRecord | null> {
  const at = recordAt(store, name)
  const { entries, revision } = await store.read(at.key, signal)
  const now = entries.find((entry) => entry.key === at.key)
  yield now === undefined ? null : at.codec.parse(at.key, now.value)
  for await (const event of store.watch(at.key, revision, signal)) {
    const change = event.kind === 'batch' ? event.changes.find(({ key }) => key === at.key) : undefined
    if (change !== undefined) yield change.kind === 'put' ? at.codec.parse(at.key, change.value) : null
  }
}
