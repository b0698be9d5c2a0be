// What direct mode needs besides the map: that somebody knows of it, and how to log in to the servers.
import type { NodeRecord } from '@fleetshard/core'
import type { Credentials, NodeLogin } from '../options.ts'

/** A direct client's place among those who use the shards. */
export interface Membership extends AsyncDisposable {
  /** The uuid of the cluster; null when nobody has told it. */
  readonly cluster: string | null
  /** Takes the place. @throws FleetError `direct_refused` */
  start(): Promise<void>
  /** The map has changed. */
  acknowledge(): void
  /** How to log in to a server. @throws FleetError `secret_unavailable` */
  login(node: NodeRecord, shardId: string): Promise<NodeLogin>
  /** A server refused a login. */
  refused(nodeId: string): void
}

/** The login that a caller's own credentials give for a server. */
export async function loginByCredentials(
  credentials: Credentials,
  { id, role, host, port, database, user }: NodeRecord,
  shardId: string,
): Promise<NodeLogin> {
  if (typeof credentials !== 'function') return credentials
  return credentials({ id, shardId, role, host, port, database, user })
}
