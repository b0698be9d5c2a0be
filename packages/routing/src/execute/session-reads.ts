// Session tokens in execution: which node may answer a read of a session, and the token after a write.
import {
  mergeSessionTokens,
  sessionShardKey,
  unknownPosition,
  type SessionPosition,
  type SessionToken,
  type ShardRecord,
} from '@fleetshard/core'
import type { Freshness } from './replica-progress.ts'

/** What a read asks of a replica. */
export interface ReadTerms {
  /** Null without a token. */
  readonly token: SessionToken | null
  /** Null when any replica will do. */
  readonly maxStalenessMs: number | null
}

/** What a replica of the shard must have; `any` when nothing, `none` when only the primary will do. */
export function freshnessOf(
  { token, maxStalenessMs }: ReadTerms,
  { keyspace, id }: ShardRecord,
): Freshness | 'any' | 'none' {
  const position = token?.positions.get(sessionShardKey(keyspace, id)) ?? null
  if (position === null && token?.hasMore === true) return 'none'
  if (position?.lsn === unknownPosition.lsn) return 'none'
  return position === null && maxStalenessMs === null ? 'any' : { position, maxStalenessMs }
}

/** The token after a write to the shard; a position that is not known leaves its reads to the primary. */
export const tokenAfter = (
  token: SessionToken,
  { keyspace, id }: ShardRecord,
  position: SessionPosition | null,
): SessionToken =>
  mergeSessionTokens(token, {
    positions: new Map([[sessionShardKey(keyspace, id), position ?? unknownPosition]]),
    hasMore: false,
  })
