// The client: handles for the shards, the shard map at hand, the session token.
import { ownerOfUntyped, parseKey, type ShardMap } from '@fleetshard/core'
import { allShards, type AllShards } from './all-shards.ts'
import { toFleetShardError, type FleetShardError } from './errors.ts'
import { queryable, shardHandle, type NamedShard, type Queryable, type ShardHandle } from './handles.ts'
import type { Limits } from './options.ts'
import { toJsonKey, type ShardKey } from './parameters.ts'
import type { ClientSession } from './session.ts'
import type { Backend, CallOptions } from './statement.ts'

/** Where a key lies. */
export interface ShardPlace {
  readonly shardId: string
  readonly shardName: string
  readonly epoch: number
}

/** A connected client. `await using db = await connect(…)`, or `close()`. */
export interface FleetShard extends Queryable, AsyncDisposable {
  /** The mode that it works in. */
  readonly mode: 'http' | 'direct'
  /**
   * Why it goes through a router though direct mode was asked for; null otherwise. In the mode `direct`: why statements
   * on some shard do at the moment; null again once it is reached.
   */
  readonly fallback: FleetShardError | null
  readonly keyspace: string
  /** The shard that owns a key. Null and undefined are refused at once. */
  readonly shard: (key: ShardKey, options?: CallOptions) => ShardHandle
  /**
   * Every shard that owns keys, as one: for statements whose rows may simply be put together. Others are refused with
   * the reason (aggregates, ORDER BY, LIMIT, joins off the shard key, …).
   */
  readonly all: (options?: CallOptions) => AllShards
  /** A handle for each shard that owns keys; what each answers is its own part, whatever the statement says. */
  readonly shards: (options?: CallOptions) => readonly NamedShard[]
  /**
   * The shard that owns a key, from the map at hand: no round trip. Where the tables' keys have different types, it is
   * the one on which all types put the key; a key that they put on several is refused.
   * @throws FleetShardError `invalid_shard_key`, `no_shard`
   */
  readonly shardFor: (key: ShardKey) => ShardPlace
  /**
   * Milliseconds since a router was last known to have the shard map that this client works with; 0 with a topology file.
   * It grows while no router answers.
   */
  readonly mapAgeMs: number
  /**
   * What the writes of this client have reached; null before the first. Give it to another client, or to a call as
   * `consistency: { session: db.session }`, and its reads see these writes. In direct mode writes ask for their position
   * from the first look on; reads that must see those before go to the primary.
   */
  session: string | null
  /** Ends all connections; what is under way may end first. Idempotent. */
  readonly close: () => Promise<void>
}

/** What a client is made of. */
export interface ClientParts {
  readonly mode: 'http' | 'direct'
  readonly fallback: () => FleetShardError | null
  readonly keyspace: string
  readonly backend: Backend
  readonly limits: Limits
  readonly session: ClientSession
}

/** Puts a client together. */
export function createFleetShard({
  mode,
  fallback,
  keyspace,
  backend,
  limits,
  session,
}: ClientParts): FleetShard {
  const everywhere = { backend, shardsAtOnce: limits.shardsAtOnce, rowsMax: limits.rowsMax }
  let closing: Promise<void> | null = null
  const close = (): Promise<void> => {
    closing ??= Promise.resolve(backend[Symbol.asyncDispose]())
    return closing
  }
  return {
    ...queryable({ runner: backend, target: { kind: 'planned' }, options: {} }),
    mode,
    get fallback() {
      return fallback()
    },
    keyspace,
    shard: (key, options = {}) =>
      shardHandle(backend, { kind: 'key', key: told(() => toJsonKey(key)) }, options),
    all: (options = {}) => allShards(everywhere, options),
    shards: (options = {}) =>
      told(() => backend.map()).owners.map(({ id, name }) => ({
        ...shardHandle(backend, { kind: 'shard', id, part: false }, options),
        id,
        name,
      })),
    shardFor: (key) => told(() => placeOf(backend.map(), key)),
    get mapAgeMs() {
      return backend.mapAgeMs()
    },
    get session() {
      return session.text
    },
    set session(token) {
      told(() => {
        session.set(token)
      })
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

function placeOf(map: ShardMap, key: ShardKey): ShardPlace {
  const { id, name } = ownerOfUntyped(map, (type) => parseKey(key, type))
  return { shardId: id, shardName: name, epoch: map.epoch }
}

function told<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw toFleetShardError(error)
  }
}
