// Keeps who confirms commits in line with what the keyspace asks for and with the replicas that are there. Every change
// is joint: both sets are in the catalog, then the primary is told, then only the new one is. SPEC.md, invariant 4.
import {
  isFleetError,
  type CommitQuorum,
  type Durability,
  type NodeRecord,
  type QuorumRecord,
  type ShardRecord,
} from '@fleetshard/core'
import type { Stored } from '../../catalog/mod.ts'
import type { NodeProbe } from '../../engine/mod.ts'
import { agentOf, effect, nowText, within, type Leading } from './parts.ts'
import { isSameQuorum, quorumOf } from './quorum.ts'
import { isConfirmed, quorumRecord } from './quorum-record.ts'

const orderMsMax = 8_000

/** A primary that answered, and how long its quorum has not been there. */
export interface Attachment {
  readonly shard: ShardRecord
  readonly primary: NodeRecord
  readonly probe: NodeProbe
  readonly mode: Durability
  /** `clock.monotonic()` since when too few replicas stream; null while enough do. */
  readonly missingSinceMs: number | null
}

/** True while enough of the members stream. */
export function isAttached(quorum: CommitQuorum, { senders }: NodeProbe): boolean {
  const streaming = new Set(senders.filter(({ state }) => state === 'streaming').map(({ name }) => name))
  return quorum.members.filter((member) => streaming.has(member)).length >= quorum.required
}

/** What is asked for now: the quorum of the mode, or none while `availability` has to do without. */
export function wantedQuorum(leading: Leading, attachment: Attachment): CommitQuorum | null {
  const { shard, primary, probe, mode, missingSinceMs } = attachment
  const full = quorumOf(mode, primary.id, shard.nodes)
  if (full === null || mode === 'protection' || isAttached(full, probe)) return full
  const { clock, options } = leading.parts
  const missingMs = missingSinceMs === null ? 0 : clock.monotonic() - missingSinceMs
  return missingMs >= options.degradeMs ? null : full
}

/**
 * Brings record and primary to what is wanted; nothing where they are. A lost race is left to the next look.
 * @returns the record as it is then
 */
export async function keepQuorum(
  leading: Leading,
  attachment: Attachment,
  known: Stored<QuorumRecord> | null,
): Promise<Stored<QuorumRecord> | null> {
  const { shard, primary, mode } = attachment
  const wanted = wantedQuorum(leading, attachment)
  const sets = known?.record.sets ?? [null]
  const isThere = sets.length === 1 && isSameQuorum(sets[0] ?? null, wanted)
  if (primary.agent === null || isThere || isTooEarly(attachment, sets, wanted)) return known
  const full = quorumOf(mode, primary.id, shard.nodes)
  const degradedSince = wanted === null && full !== null ? nowText(leading.parts) : null
  try {
    return await change(leading, attachment, { known, wanted, degradedSince })
  } catch (error) {
    if (!isFleetError(error, 'catalog_conflict') && !isFleetError(error, 'version_mismatch')) throw error
    return leading.parts.catalog.quorums.get(shard.keyspace, shard.id, leading.signal)
  }
}

/** To begin to wait for replicas that are not there would stop a shard that serves; only `protection` asks for that. */
function isTooEarly(
  { mode, probe }: Attachment,
  sets: QuorumRecord['sets'],
  wanted: CommitQuorum | null,
): boolean {
  const waitsForNone = sets.every((set) => set === null)
  return waitsForNone && wanted !== null && mode === 'availability' && !isAttached(wanted, probe)
}

const isWritten = (known: Stored<QuorumRecord> | null, joint: QuorumRecord): known is Stored<QuorumRecord> =>
  known !== null &&
  known.record.degradedSince === joint.degradedSince &&
  known.record.sets.length === joint.sets.length &&
  known.record.sets.every((set, index) => isSameQuorum(set, joint.sets[index] ?? null))

async function change(
  leading: Leading,
  { shard, primary }: Attachment,
  {
    known,
    wanted,
    degradedSince,
  }: {
    readonly known: Stored<QuorumRecord> | null
    readonly wanted: CommitQuorum | null
    readonly degradedSince: string | null
  },
): Promise<Stored<QuorumRecord>> {
  const { parts, leadership } = leading
  const options = { conditions: [leadership.condition], signal: leading.signal }
  const before = (known?.record.sets ?? [null]).filter((set) => !isSameQuorum(set, wanted))
  const joint = quorumRecord(shard, [...before.slice(-2), wanted], known, degradedSince)
  const written = isWritten(known, joint)
    ? known
    : await effect(leading, 'quorum joint', () => parts.catalog.quorums.put(known, joint, options))
  using signal = within(leading, orderMsMax)
  const agent = await agentOf(leading, primary, signal)
  const sync = wanted === null ? null : { members: [...wanted.members], required: wanted.required }
  await effect(leading, 'quorum set', () => agent.quorum(primary.id, { sync, term: shard.term }, signal))
  // What others have confirmed until now the new members may not have yet.
  if (wanted !== null && !(await isConfirmed(leading, primary, wanted))) return written
  const only = quorumRecord(shard, [wanted], written, degradedSince)
  const settled = await effect(leading, 'quorum settled', () =>
    parts.catalog.quorums.put(written, only, options),
  )
  parts.log.info(
    {
      shard: shard.id,
      members: wanted?.members ?? [],
      required: wanted?.required ?? 0,
      degraded: degradedSince,
    },
    wanted === null ? 'commits wait for no replica' : 'commits wait for replicas',
  )
  return settled
}
