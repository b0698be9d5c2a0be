// Where a client has the map of its keyspace from: routers that tell it, or a topology file.
import type { ShardMap } from '@fleetshard/core'

/** The map of one keyspace, live. */
export interface MapSource extends AsyncDisposable {
  /** Has the first map, and follows from then on. @throws FleetError when there is none */
  start(): Promise<void>
  /** The map as it is now. @throws FleetError `not_found` when the keyspace is gone */
  map(): ShardMap
  /** Looks for a newer map. */
  refresh(): Promise<void>
  /** Resolves when there is a newer map than that one, or after `withinMs`. */
  newerThan(map: ShardMap, withinMs: number): Promise<void>
}
