// The memory backend: a store inside the process, for unit tests, for trying out, and for what the file backend has
// read. Several handles can be opened on one, it can be made unreachable, and its history can be compacted.
import { FleetError, type Clock } from '@fleetshard/core'
import { unavailable } from '../../deadline.ts'
import { checkCommit } from '../../limits.ts'
import type {
  CatalogStore,
  CommitResult,
  KeyRevision,
  StoreChange,
  StoreCondition,
  StoreEntry,
  StoreLease,
  StoreRevision,
  StoreSnapshot,
  StoreWrite,
  WatchEvent,
} from '../../store.ts'
import { createWake, type Wake } from '../../wake.ts'

/** How many batches are kept for watches that lag. */
export const memoryHistoryMax = 10_000

/** What the handles of one memory store share. */
export interface MemoryBackend {
  open(): CatalogStore
  /** One batch, however large, without conditions. */
  publish(writes: readonly StoreWrite[]): void
  /** Forgets all history up to now. */
  compact(): void
  /** While false, every operation fails as `catalog_unavailable`, and watches stand still. */
  setReachable(reachable: boolean): void
}

interface Batch {
  readonly revision: number
  readonly changes: readonly StoreChange[]
}

interface State {
  readonly clock: Clock
  readonly wake: Wake
  readonly entries: Map<string, StoreEntry & { readonly lease: string | null }>
  readonly leases: Map<string, { readonly expiresAtMs: number }>
  readonly history: Batch[]
  revision: number
  compacted: number
  reachable: boolean
  leasesMade: number
}

/** An empty store. */
export function createMemoryBackend(deps: { readonly clock: Clock }): MemoryBackend {
  const state: State = {
    clock: deps.clock,
    wake: createWake(deps.clock),
    entries: new Map(),
    leases: new Map(),
    history: [],
    revision: 0,
    compacted: 0,
    reachable: true,
    leasesMade: 0,
  }
  return {
    open: () => openHandle(state),
    publish: (writes) => void commit(state, [], writes),
    compact() {
      state.history.length = 0
      state.compacted = state.revision
      state.wake.notify()
    },
    setReachable(reachable) {
      state.reachable = reachable
      state.wake.notify()
    },
  }
}

/** Keeps the history bounded. */
function record(state: State, changes: readonly StoreChange[]): void {
  state.history.push({ revision: state.revision, changes })
  const dropped = state.history.length > memoryHistoryMax ? state.history.shift() : undefined
  if (dropped !== undefined) state.compacted = dropped.revision
  state.wake.notify()
}

function endLease(state: State, id: string): void {
  if (!state.leases.delete(id)) return
  const gone = [...state.entries.values()].filter((entry) => entry.lease === id)
  if (gone.length === 0) return
  state.revision++
  for (const { key } of gone) state.entries.delete(key)
  record(
    state,
    gone.map(({ key }) => ({ kind: 'delete', key })),
  )
}

function expireLeases(state: State): void {
  const now = state.clock.monotonic()
  for (const [id, lease] of state.leases) {
    if (lease.expiresAtMs <= now) endLease(state, id)
  }
}

function isMet(state: State, condition: StoreCondition): boolean {
  const entry = state.entries.get(condition.key)
  switch (condition.kind) {
    case 'absent':
      return entry === undefined
    case 'exists':
      return entry !== undefined
    case 'revision':
      return entry?.revision === condition.revision
  }
}

function commit(
  state: State,
  conditions: readonly StoreCondition[],
  writes: readonly StoreWrite[],
): CommitResult {
  if (!conditions.every((condition) => isMet(state, condition))) return { kind: 'conflict' }
  checkLeases(state, writes)
  const effective = writes.filter((write) => write.kind === 'put' || state.entries.has(write.key))
  if (effective.length === 0) {
    return { kind: 'committed', revision: String(state.revision) as StoreRevision, revisions: new Map() }
  }
  state.revision++
  const revision = String(state.revision)
  const changes = effective.map((write) => applyWrite(state, write, revision as KeyRevision))
  record(state, changes)
  const puts = changes.filter((change) => change.kind === 'put')
  return {
    kind: 'committed',
    revision: revision as StoreRevision,
    revisions: new Map(puts.map((change) => [change.key, change.revision])),
  }
}

function checkLeases(state: State, writes: readonly StoreWrite[]): void {
  for (const write of writes) {
    if (write.kind === 'put' && write.lease !== undefined && !state.leases.has(write.lease.id)) {
      throw new FleetError('lease_lost', `the lease for ${write.key} is gone`)
    }
  }
}

function applyWrite(state: State, write: StoreWrite, revision: KeyRevision): StoreChange {
  if (write.kind === 'delete') {
    state.entries.delete(write.key)
    return { kind: 'delete', key: write.key }
  }
  const { key, value } = write
  state.entries.set(key, { key, value, revision, lease: write.lease?.id ?? null })
  return { kind: 'put', key, value, revision }
}

function read(state: State, prefix: string): StoreSnapshot {
  const entries = [...state.entries.values()]
    .filter((entry) => entry.key.startsWith(prefix))
    .toSorted((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)))
    .map(({ key, value, revision }) => ({ key, value, revision }))
  return { entries, revision: String(state.revision) as StoreRevision }
}

function openHandle(state: State): CatalogStore {
  const closed = new AbortController()
  /** Every operation: refuses when it must, and lets time pass for leases. Async, so that nobody relies on order. */
  async function enter(signal: AbortSignal | undefined): Promise<void> {
    await Promise.resolve()
    signal?.throwIfAborted()
    if (closed.signal.aborted) throw unavailable('the store was closed')
    if (!state.reachable) throw unavailable('the catalog cannot be reached')
    expireLeases(state)
  }
  return {
    async read(prefix, signal) {
      await enter(signal)
      return read(state, prefix)
    },
    async commit(conditions, writes, signal) {
      checkCommit(conditions, writes)
      await enter(signal)
      return commit(state, conditions, writes)
    },
    watch: (prefix, from, signal) => watch(state, prefix, from, AbortSignal.any([signal, closed.signal])),
    async lease(ttlMs, signal) {
      await enter(signal)
      return makeLease(state, ttlMs, enter)
    },
    [Symbol.asyncDispose]() {
      closed.abort()
      return Promise.resolve()
    },
  }
}

function makeLease(
  state: State,
  ttlMs: number,
  enter: (signal: AbortSignal | undefined) => Promise<void>,
): StoreLease {
  const id = String(++state.leasesMade)
  const extend = (): void => {
    const term = { expiresAtMs: state.clock.monotonic() + ttlMs }
    state.leases.set(id, term)
    // Not by the time it is: a timer may fire a part of a millisecond early, and nothing would ask again.
    state.clock.after(ttlMs, () => {
      if (state.leases.get(id) === term) endLease(state, id)
    })
  }
  const lease: StoreLease = {
    id,
    async keepAlive(signal) {
      await enter(signal)
      if (!state.leases.has(id)) throw new FleetError('lease_lost', 'the lease has ended')
      extend()
    },
    async revoke(signal) {
      await enter(signal)
      endLease(state, id)
    },
    async [Symbol.asyncDispose]() {
      await lease.revoke().catch(() => undefined)
    },
  }
  extend()
  return lease
}

async function* watch(
  state: State,
  prefix: string,
  from: StoreRevision,
  signal: AbortSignal,
): AsyncIterable<WatchEvent> {
  let position = Number(from)
  while (!signal.aborted) {
    const seen = state.wake.count()
    if (state.reachable) {
      if (position < state.compacted || position > state.revision) {
        yield { kind: 'compacted' }
        return
      }
      const batch = nextBatch(state, prefix, position)
      if (batch !== null) {
        position = batch.revision
        yield { kind: 'batch', revision: String(batch.revision) as StoreRevision, changes: batch.changes }
        continue
      }
      position = state.revision
    }
    await state.wake.wait(seen, signal)
  }
}

function nextBatch(state: State, prefix: string, position: number): Batch | null {
  // The history has every revision after `compacted`, so that a revision's place is known.
  for (let index = position - state.compacted; index < state.history.length; index++) {
    const batch = state.history[index]
    const changes = batch?.changes.filter((change) => change.key.startsWith(prefix)) ?? []
    if (batch !== undefined && changes.length > 0) return { revision: batch.revision, changes }
  }
  return null
}
