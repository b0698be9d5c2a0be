// What a router may do with the catalog, and nothing else: read and watch the map, register itself and the
// epochs it works with, read the secrets of nodes, submit a job.
import {
  FleetError,
  parseEpoch,
  type Epoch,
  type JobRecord,
  type KeyspaceName,
  type KeyspaceSnapshot,
  type RouterRecord,
} from '@fleetshard/core'
import type { Service } from '../runtime/mod.ts'
import { createJobs } from './jobs.ts'
import type { LeaseDeps } from './leases.ts'
import { createRouters, type Registration } from './registry.ts'
import type { SecretSealer } from './sealer.ts'
import { readSecret } from './secrets.ts'
import { createCatalogView, type CatalogView } from './view.ts'

export { encodeSnapshot, parseSnapshot } from './records.ts'
export type { CatalogChange, CatalogState } from './view.ts'

/** The catalog as a router sees it. `run` keeps the map live and the router registered. */
export interface RouterPort extends Service {
  /** The live map. `view.current().keyspaces`, `view.subscribe`, `view.ageMs()`. */
  readonly view: Pick<
    CatalogView,
    'current' | 'isLoaded' | 'loaded' | 'until' | 'ageMs' | 'subscribe' | 'changes'
  >
  /** What to do about a keyspace that is not there, where it is something else than to create it. */
  readonly missingKeyspaceHint?: () => string
  /** Says that from now on this router works with that epoch; written soon, never lowered. */
  acknowledge(keyspace: KeyspaceName, epoch: Epoch): void
  /** True while the registration, with all acknowledgements, is known to be in the catalog. */
  isRegistered(): boolean
  /** Registers a direct client under a lease of its own, until it or this port is disposed of. */
  registerDirect(record: RouterRecord): DirectRegistration
  /**
   * Value of a node's secret (`catalog:<name>`).
   * @throws FleetError `not_found`, `catalog_unavailable`, `secret_unavailable`
   */
  secret(name: string, signal?: AbortSignal): Promise<string>
  /** Hands work to the workers. @throws FleetError `already_exists`, `catalog_unavailable` */
  submitJob(job: JobRecord, signal?: AbortSignal): Promise<void>
}

/** A direct client in the catalog. */
export interface DirectRegistration extends AsyncDisposable {
  /** Says that the client works with that epoch; written soon, never lowered. */
  acknowledge(keyspace: KeyspaceName, epoch: number): void
}

export interface RouterPortOptions {
  readonly record: RouterRecord
  /** The map of an earlier run, to serve from until the catalog answers. */
  readonly seed?: readonly KeyspaceSnapshot[]
  /** Default 10 s. */
  readonly leaseTtlMs?: number
  readonly probeEveryMs?: number
  /** What opens secrets that are sealed; null, or left out, where none are. */
  readonly sealer?: SecretSealer | null
}

const leaseTtlMsDefault = 10_000

/** Made by the composition root; the router gets only this. */
export function createRouterPort(deps: LeaseDeps, options: RouterPortOptions): RouterPort {
  const { seed, probeEveryMs } = options
  const view = createCatalogView(deps, {
    ...(seed === undefined ? {} : { seed }),
    ...(probeEveryMs === undefined ? {} : { probeEveryMs }),
  })
  const ttlMs = options.leaseTtlMs ?? leaseTtlMsDefault
  const registration = createRouters(deps.store).register(deps, options.record, ttlMs)
  const jobs = createJobs(deps)
  const stopped = new AbortController()
  return {
    name: 'router port',
    view,
    acknowledge(keyspace, epoch) {
      acknowledgeIn(registration, keyspace, epoch)
    },
    registerDirect(record) {
      const direct = createRouters(deps.store).register(deps, record, ttlMs)
      const running = direct.run(stopped.signal)
      return {
        acknowledge(keyspace, epoch) {
          acknowledgeIn(direct, keyspace, parseEpoch(epoch))
        },
        async [Symbol.asyncDispose]() {
          await direct[Symbol.asyncDispose]()
          await running
        },
      }
    },
    isRegistered: () => registration.isRegistered(),
    async secret(name, signal) {
      const value = await readSecret({ store: deps.store, sealer: options.sealer ?? null }, name, signal)
      if (value === null) throw new FleetError('not_found', `there is no secret ${name} in the catalog`)
      return value
    },
    async submitJob(job, signal) {
      await jobs.create(job, signal === undefined ? {} : { signal })
    },
    async run(signal) {
      await Promise.all([view.run(signal), registration.run(signal)])
    },
    drain: () => registration.drain(),
    async [Symbol.asyncDispose]() {
      stopped.abort()
      await registration[Symbol.asyncDispose]()
      await view[Symbol.asyncDispose]()
    },
  }
}

function acknowledgeIn(registration: Registration<RouterRecord>, keyspace: KeyspaceName, epoch: Epoch): void {
  const record = registration.current()
  if ((record.ackedEpochs[keyspace] ?? -1) >= epoch) return
  registration.set({ ...record, ackedEpochs: { ...record.ackedEpochs, [keyspace]: epoch } })
}
