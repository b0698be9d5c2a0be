// What a new connection asks of its database before it serves: who has claimed it.
import { parseShardState, shardStateCheck, type ShardIdentity, type unclaimedCheck } from '../shard-state.ts'
import { query, type QueryResult, type ServerConnection } from '../wire/mod.ts'

/** Null where no shard has claimed the database. */
export async function readState(
  connection: ServerConnection,
  signal: AbortSignal,
): Promise<ShardIdentity | null> {
  const [row] = await runCheck(connection, shardStateCheck, signal)
  if (row === undefined) return null
  const [cluster, keyspace, shard, term, epochMin, block] = row
  return parseShardState({
    cluster: cluster ?? '',
    keyspace: keyspace ?? '',
    shard: shard ?? '',
    term: term ?? '',
    epoch_min: epochMin ?? '',
    sequence_block: block ?? '',
  })
}

/** The rows that a check is about. */
export async function runCheck(
  connection: ServerConnection,
  { statements, identityIndex }: typeof shardStateCheck | typeof unclaimedCheck,
  signal: AbortSignal,
): Promise<QueryResult['rows']> {
  const results = await Promise.all(statements.map((text) => query(connection, text, [], { signal })))
  return results[identityIndex]?.rows ?? []
}
