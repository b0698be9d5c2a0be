// The record of who confirms the commits of a shard, and whether a quorum has all that was written so far. SPEC.md,
// invariant 4.
import type { CommitQuorum, NodeRecord, QuorumRecord, ShardRecord } from '@fleetshard/core'
import type { Stored } from '../../catalog/mod.ts'
import { within, type Leading } from './parts.ts'

/** How long new members get to have what the primary has written; they are asked again later. */
const confirmMsMax = 1_500
const sessionMsMax = 3_000

/** A record with those sets. */
export function quorumRecord(
  shard: ShardRecord,
  sets: QuorumRecord['sets'],
  found: Stored<QuorumRecord> | null,
  degradedSince: string | null = null,
): QuorumRecord {
  return {
    keyspace: shard.keyspace,
    shard: shard.id,
    sets,
    degradedSince,
    version: found?.record.version ?? 1,
  }
}

/** True once that quorum has everything that the primary has written so far. */
export async function isConfirmed(
  leading: Leading,
  primary: NodeRecord,
  quorum: CommitQuorum,
): Promise<boolean> {
  const { parts } = leading
  using signal = within(leading, confirmMsMax + sessionMsMax)
  const target = await parts.target(primary, signal)
  return await parts.engine('postgres').confirmWrite(target, quorum, { signal, timeoutMs: confirmMsMax })
}
