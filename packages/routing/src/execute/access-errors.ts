// Why a connection to a shard's server is not to be had, or not to be used.
import { FleetError, type NodeRecord, type ShardRecord } from '@fleetshard/core'

/** The node did not answer while it was waited for. */
export function notInTime({ id }: NodeRecord, withinMs: number): FleetError {
  return new FleetError(
    'shard_unavailable',
    `node ${id} did not take a connection within ${String(withinMs)} ms`,
    {
      hint: 'fleetshard doctor shows the state of the servers',
    },
  )
}

/** What a deleted shard leaves behind, and a map that is a little old still names. */
export function goneByNow(record: ShardRecord, what: string): FleetError {
  return new FleetError('stale_map', `shard ${record.name} is not where the map has it: ${what}`, {
    hint: 'try again; if it stays so, check the endpoint: fleetshard shard get',
  })
}

/** The database is not the shard's, and the map stays with it. May be tried again: the endpoint may be corrected. */
export function wrongDatabase(record: ShardRecord, what: string): FleetError {
  return new FleetError('wrong_database', `the node of shard ${record.name} is not its own: ${what}`, {
    hint: 'check the endpoint if it stays so: fleetshard shard get',
    retryable: true,
  })
}

/** The database of a static topology is somebody's. */
export function claimedDatabase(record: ShardRecord, what: string): FleetError {
  return new FleetError(
    'wrong_database',
    `the node of ${record.name} is not for a static topology: ${what}`,
    {
      hint: 'use a router with the catalog of that keyspace, or another database in the topology file',
    },
  )
}
