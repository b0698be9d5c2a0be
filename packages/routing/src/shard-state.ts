// The check that every new server connection of a router or a direct client makes before it serves, and the lock
// that makes it exact. The engine writes what is checked here, and reads it by the same code.
import {
  FleetError,
  parseEpoch,
  parseKeyspaceName,
  parseShardId,
  parseTerm,
  type Epoch,
  type KeyspaceName,
  type ShardId,
  type Term,
} from '@fleetshard/core'

/** Who a database belongs to; the one row of `fleetshard.shard_state`. */
export interface ShardIdentity {
  /** Id of the catalog that the shard is recorded in: a uuid. */
  readonly cluster: string
  readonly keyspace: KeyspaceName
  readonly shard: ShardId
  readonly term: Term
  /** Connections that work with an older map than this are refused. */
  readonly epochMin: Epoch
  readonly sequenceBlock: number
}

/**
 * Advisory lock around `fleetshard.shard_state`: shared by whoever checks it, exclusive, until the commit, by whoever
 * changes it. So nobody reads the old state between the moment a fence ends old connections and its commit.
 * The digits are 'FSHARD' in ASCII.
 */
export const shardStateLockKey = '77323508470340'

/** Router connections have an application_name that begins so; a fence ends them. */
export const routerApplicationPrefix = 'fleetshard/router'

/** False when what a server has told of its settings has another name in it: a fence would not end the connection. */
export const isOfRouter = (told: ReadonlyMap<string, string>): boolean =>
  told.get('application_name')?.startsWith(routerApplicationPrefix) ?? true

/**
 * The check, statement by statement, to be sent without waiting for answers in between. It waits for a fence that is
 * under way, whatever lock_timeout the session has. The fourth result has the identity; it fails with 42P01 or 3F000
 * where no shard has claimed the database. Works on replicas, where the lock is the replica's own.
 */
export const shardStateCheck = {
  statements: [
    // A snapshot taken before the lock was had would show the state before the fence.
    'begin isolation level read committed',
    'set local lock_timeout = 0',
    `select pg_catalog.pg_advisory_xact_lock_shared(${shardStateLockKey})`,
    'select cluster, keyspace, shard, term, epoch_min, sequence_block from fleetshard.shard_state',
    'commit',
  ],
  identityIndex: 3,
} as const

/**
 * The check of a static topology, whose databases nobody has claimed, to be sent like the other one. The fourth result
 * has one value: `t` where the table of claims exists, which the other check then reads. It never fails for lack of
 * rights on a schema that is not there.
 */
export const unclaimedCheck = {
  statements: [
    ...shardStateCheck.statements.slice(0, 3),
    `select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'fleetshard' and c.relname = 'shard_state')`,
    'commit',
  ],
  identityIndex: 3,
} as const

/** A row of the check, in the text format of the wire (values that a driver has converted are fine too). */
export interface ShardStateRow {
  readonly cluster: string
  readonly keyspace: string
  readonly shard: string
  readonly term: string | number
  readonly epoch_min: string | number
  readonly sequence_block: string | number
}

/** @throws FleetError `wrong_database` when the row does not have the form that this version writes */
export function parseShardState(row: ShardStateRow): ShardIdentity {
  try {
    return {
      cluster: String(row.cluster),
      keyspace: parseKeyspaceName(row.keyspace),
      shard: parseShardId(row.shard),
      term: parseTerm(Number(row.term)),
      epochMin: parseEpoch(Number(row.epoch_min)),
      sequenceBlock: parseEpoch(Number(row.sequence_block)),
    }
  } catch (cause) {
    throw new FleetError('wrong_database', 'the identity stored in the database cannot be read', {
      hint: 'look at fleetshard.shard_state on that server; another version may have written it',
      cause,
    })
  }
}
