// Where a client has the map of its keyspace from: routers that tell it, or a topology file.
import type { KeyspaceSnapshot, ShardMap } from '@fleetshard/core'

/** The map of one keyspace, live. */
export interface MapSource extends AsyncDisposable {
  /** Has the first map, and follows from then on. @throws FleetError when there is none */
  start(): Promise<void>
  /** The map as it is now. @throws FleetError `not_found` when the keyspace is gone */
  map(): ShardMap
  /** Milliseconds since its source was last known to have that map. */
  ageMs(): number
  /** Looks for a newer map. */
  refresh(): Promise<void>
  /** Resolves when there is a newer map than that one, or after `withinMs`. */
  newerThan(map: ShardMap, withinMs: number): Promise<void>
}

/** A map that was copied. */
export interface CopiedMap {
  readonly snapshot: KeyspaceSnapshot
  /** Wall time, milliseconds, at which a router last had this map. */
  readonly savedAtMs: number
}

/** A copy of the map, for starts while no router answers. */
export interface MapCopy extends AsyncDisposable {
  /** The uuid of the cluster that was loaded; null when there was none. */
  readonly cluster: string | null
  /** Null when there is none. @throws FleetError `corrupt_record` */
  load(): Promise<CopiedMap | null>
  /** Copies the map at once. @throws FleetError `invalid_request` when it cannot be done */
  save(): Promise<void>
  /** The map has changed: it is copied soon. */
  changed(): void
  /** A router has the map that was copied. */
  confirmed(): void
}
