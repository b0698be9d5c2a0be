// Where direct mode has its map and its logins from: routers, or a topology file.
import type { Clock, FleetError, ShardMap } from '@fleetshard/core'
import type { IdentityCheck } from '@fleetshard/routing/execute'
import type { Routers } from '../http/routers.ts'
import type { Credentials } from '../options.ts'
import { TopologyFollower } from '../topology/follower.ts'
import type { MapCopy, MapSource } from '../topology/map-source.ts'
import { FileLogins } from './file-logins.ts'
import { FileMap } from './file-map.ts'
import { MapCopyFile } from './map-copy.ts'
import type { Membership } from './membership.ts'
import { DirectSession } from './session.ts'

/** A fleet, known by its routers. */
export interface RoutersSource {
  readonly kind: 'routers'
  readonly routers: Routers
  /** For the follower of the map. */
  readonly topologyRouters: Routers
  readonly keyspace: string
  /** Path of the map's copy; null for none. */
  readonly mapCopy: string | null
}

/** A fleet, known by a topology file. */
export interface FileSource {
  readonly kind: 'file'
  /** A path, or the text of a file. */
  readonly topology: string
  /** The keyspace that the caller wants; null for whichever the file has. */
  readonly keyspace: string | null
  readonly onRefused: (error: FleetError) => void
}

/** What an origin is made of. */
export interface OriginParts {
  readonly source: RoutersSource | FileSource
  readonly clock: Clock
  readonly clientId: string
  readonly timeoutMs: number
  readonly credentials: Credentials | undefined
  readonly onMap: (map: ShardMap, held: ShardMap | null) => void
}

/** Map and logins, and how databases are told apart from those of others. */
export interface Origin {
  readonly topology: MapSource
  readonly membership: Membership
  /** Of the map, on disk. */
  readonly copy: MapCopy | null
  readonly identityCheck: IdentityCheck
  /** Routers with the map at hand, for statements that go through one; null without routers. */
  readonly routers:
    | (Omit<RoutersSource, 'kind' | 'topologyRouters' | 'mapCopy'> & { readonly topology: TopologyFollower })
    | null
}

/** Does no I/O. */
export function originOf({ source, ...parts }: OriginParts): Origin {
  return source.kind === 'routers' ? ofRouters(source, parts) : ofFile(source, parts)
}

function ofRouters(
  { routers, topologyRouters, keyspace, mapCopy }: RoutersSource,
  { clock, clientId, timeoutMs, credentials, onMap }: Omit<OriginParts, 'source'>,
): Origin {
  const copy =
    mapCopy === null
      ? null
      : new MapCopyFile({
          path: mapCopy,
          clock,
          snapshot: () => topology.map().snapshot,
          cluster: () => membership.cluster,
        })
  const topology = new TopologyFollower({ routers: topologyRouters, keyspace, clock, timeoutMs, onMap, copy })
  const epoch = (): number => topology.map().epoch
  const membership = new DirectSession({
    clock,
    routers,
    keyspace,
    credentials,
    clientId,
    timeoutMs,
    epoch,
    copiedCluster: () => copy?.cluster ?? null,
  })
  return { topology, membership, copy, identityCheck: 'claimed', routers: { routers, keyspace, topology } }
}

function ofFile(
  { topology: file, keyspace, onRefused }: FileSource,
  { clock, credentials, onMap }: Omit<OriginParts, 'source'>,
): Origin {
  const topology = new FileMap({ topology: file, keyspace, clock, onMap, onRefused })
  const password = (secretRef: string): string | undefined => topology.password(secretRef)
  const membership = new FileLogins({ credentials, password })
  return { topology, membership, copy: null, identityCheck: 'static', routers: null }
}
