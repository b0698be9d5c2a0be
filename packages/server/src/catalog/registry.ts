// Leased records: routers and agents that say "I am here" for as long as they are.
import { toFleetError, type AgentRecord, type RouterId, type RouterRecord } from '@fleetshard/core'
import type { Service } from '../runtime/mod.ts'
import type { Stored } from './contract.ts'
import { createBackoff } from './deadline.ts'
import { keys } from './keys.ts'
import { holdLease, type HeldLease, type LeaseDeps } from './leases.ts'
import { parseEntry, putRecord, readRecord, type RecordAt } from './record-set.ts'
import { codecs, type RecordCodec } from './records.ts'
import type { CatalogStore } from './store.ts'
import { createWake } from './wake.ts'

/** Records that vanish with the process that wrote them. */
export interface LeasedRecords<Id, T> {
  get(id: Id, signal?: AbortSignal): Promise<Stored<T> | null>
  list(signal?: AbortSignal): Promise<readonly Stored<T>[]>
  /**
   * A service that keeps the record there while it runs: registers, renews, registers again after a loss, and
   * takes it away at the end. Outages of the catalog are waited through.
   */
  register(deps: LeaseDeps, record: T, ttlMs: number): Registration<T>
}

export interface Registration<T> extends Service {
  /** What is, or is to be, registered. */
  current(): T
  /** Replaces the record; written soon, and after an outage. Quick changes are written as one. */
  set(record: T): void
  /** True while the record is known to be there as `current()` says. */
  isRegistered(): boolean
}

interface Kind<Id, T> {
  readonly name: string
  readonly prefix: string
  readonly codec: RecordCodec<T>
  readonly keyOf: (id: Id) => string
  readonly idOf: (record: T) => Id
}

function leasedRecords<Id extends string, T>(store: CatalogStore, kind: Kind<Id, T>): LeasedRecords<Id, T> {
  const at = (id: Id): RecordAt<T> => ({
    store,
    codec: kind.codec,
    key: kind.keyOf(id),
    what: `${kind.name} ${id}`,
  })
  return {
    get: (id, signal) => readRecord(at(id), signal),
    async list(signal) {
      const { entries } = await store.read(kind.prefix, signal)
      return entries.map((entry) => parseEntry(kind.codec, entry))
    },
    register: (deps, record, ttlMs) => createRegistration(deps, at(kind.idOf(record)), record, ttlMs),
  }
}

/** Registered routers. */
export function createRouters(store: CatalogStore): LeasedRecords<RouterId, RouterRecord> {
  return leasedRecords(store, {
    name: 'router',
    prefix: keys.routers,
    codec: codecs.router,
    keyOf: keys.router,
    idOf: (record) => record.id,
  })
}

/** Registered agents. */
export function createAgents(store: CatalogStore): LeasedRecords<string, AgentRecord> {
  return leasedRecords(store, {
    name: 'agent',
    prefix: keys.agents,
    codec: codecs.agent,
    keyOf: keys.agent,
    idOf: (record) => record.id,
  })
}

function createRegistration<T>(deps: LeaseDeps, at: RecordAt<T>, first: T, ttlMs: number): Registration<T> {
  const wake = createWake(deps.clock)
  const stop = new AbortController()
  let record = first
  /** The wake count whose record is in the catalog, under the lease that is held. */
  let written: { readonly count: number; readonly lease: HeldLease } | null = null
  let running: Promise<void> = Promise.resolve()

  /** Until the lease is lost or the signal aborts. */
  async function keep(lease: HeldLease, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const count = wake.count()
      await deps.store.commit([], [putRecord(at, record, lease.lease)], signal)
      written = { count, lease }
      await wake.wait(count, signal)
    }
  }

  async function registerAgainAndAgain(signal: AbortSignal): Promise<void> {
    const backoff = createBackoff(deps.clock)
    while (!signal.aborted) {
      try {
        await using lease = await holdLease(deps, ttlMs, signal)
        backoff.succeeded()
        await keep(lease, AbortSignal.any([signal, lease.lost]))
      } catch (error) {
        if (signal.aborted) return
        deps.log.debug({ code: toFleetError(error).code, key: at.key }, 'not registered yet')
        await backoff.wait(signal).catch(() => undefined)
      }
    }
  }

  return {
    name: `registration of ${at.what}`,
    current: () => record,
    set(next) {
      record = next
      wake.notify()
    },
    isRegistered: () => written?.count === wake.count() && written.lease.isHeld(),
    run(signal) {
      running = registerAgainAndAgain(AbortSignal.any([signal, stop.signal]))
      return running
    },
    drain: () => Promise.resolve(),
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
    },
  }
}
