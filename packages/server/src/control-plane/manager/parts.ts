// The parts that the manager's operations share, made once in manager.ts.
import type { Clock } from '@fleetshard/core'
import type { Catalog } from '../../catalog/mod.ts'
import type { EngineName, NodeTarget, ShardEngine } from '../../engine/mod.ts'
import type { Logger } from '../../runtime/mod.ts'
import type { SecretResolver } from '../../security/mod.ts'
import type { Change } from './changes.ts'
import type { Fleet } from './fleet.ts'
import type { KeyedMutex } from './keyed-mutex.ts'
import type { Rings } from './rings.ts'
import type { Routing } from './routing.ts'
import type { Servers } from './servers.ts'
import type { Reservations } from './shards/reservations.ts'
import type { Slots } from './slots.ts'

/** What every operation may use. */
export interface Parts {
  readonly log: Logger
  readonly clock: Clock
  readonly catalog: Catalog
  readonly fleet: Fleet
  readonly rings: Rings
  readonly routing: Routing
  readonly servers: Servers
  /** One change of a keyspace's routing or tables at a time. */
  readonly mutex: KeyedMutex
  readonly reservations: Reservations
  readonly engine: (name: EngineName) => ShardEngine
  readonly secrets: SecretResolver
  /** How this process reaches shards under TLS. */
  readonly tlsContext: NodeTarget['tlsContext']
  readonly nodeCheckMs: number
  /** Bounds the connections that new shards open at once: they may all lie on one server. */
  readonly checkSlots: Slots
}

/** One change while it is made, with the engine of its keyspace. */
export interface Work {
  readonly parts: Parts
  readonly engine: ShardEngine
  readonly change: Change
  /** Of the change. */
  readonly signal: AbortSignal
}
