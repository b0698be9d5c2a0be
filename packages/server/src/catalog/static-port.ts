// A router's catalog in static mode: the map comes from a topology file, nobody registers, and no work is handed in.
import { FleetError, type Clock } from '@fleetshard/core'
import type { Logger } from '../runtime/mod.ts'
import { createFileBackend } from './backends/file/mod.ts'
import { createTopologyDecoder } from './backends/file/topology.ts'
import type { RouterPort } from './router-port.ts'
import { readSecret } from './secrets.ts'
import { createCatalogView } from './view.ts'

/** The port of a static router. */
export interface StaticPort extends RouterPort {
  /** Why the file as it is now is not what is served; null when it is. */
  problem(): string | null
}

/** What a static port is opened with. */
export interface StaticPortParts {
  readonly path: string
  readonly clock: Clock
  readonly log: Logger
  /** How often the file is looked at. */
  readonly pollEveryMs?: number
}

/** Reads the file, so that a router never starts with one that is not valid. @throws FleetError `invalid_config` */
export async function openStaticPort(parts: StaticPortParts): Promise<StaticPort> {
  const { path, clock, log } = parts
  const backend = createFileBackend({ ...parts, decode: createTopologyDecoder() })
  await backend.load()
  const store = backend.open()
  const view = createCatalogView({ store, clock, log })
  return {
    name: 'topology file',
    view,
    problem: () => backend.problem(),
    missingKeyspaceHint: () =>
      `${path} has the keyspace ${[...view.current().keyspaces.keys()].join(', ')}: name it in options.keyspace`,
    acknowledge: () => undefined,
    isRegistered: () => false,
    registerDirect() {
      throw new FleetError(
        'direct_refused',
        'a router of a topology file does not lend its logins to clients',
        {
          hint: 'give the topology file to the client itself, or use mode http',
        },
      )
    },
    async secret(name, signal) {
      const value = await readSecret({ store, sealer: null }, name, signal)
      if (value === null) throw new FleetError('not_found', `${path} has no password of that name any more`)
      return value
    },
    submitJob: () =>
      Promise.reject(
        new FleetError('catalog_read_only', 'there are no workers in static mode', {
          hint: 'run the statement on each shard, or run a fleet with a catalog and a manager',
        }),
      ),
    async run(signal) {
      await Promise.all([view.run(signal), backend.run(signal)])
    },
    drain: () => view.drain(),
    async [Symbol.asyncDispose]() {
      await view[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
    },
  }
}
