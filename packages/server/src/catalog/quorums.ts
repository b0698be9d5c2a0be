// Which replicas confirm the commits of each shard: written before the primaries are told, read by elections.
import type { KeyspaceName, QuorumRecord, ShardId } from '@fleetshard/core'
import type { ChangeOptions, CommitExtras, Stored } from './contract.ts'
import { keys } from './keys.ts'
import {
  createRecord,
  parseEntry,
  putRecord,
  readRecord,
  unchanged,
  updateRecord,
  type RecordAt,
} from './record-set.ts'
import { codecs } from './records.ts'
import type { CatalogStore } from './store.ts'

/** Records of quorums. Changes throw FleetError `catalog_conflict` when somebody else was faster. */
export interface Quorums {
  get(keyspace: KeyspaceName, shard: ShardId, signal?: AbortSignal): Promise<Stored<QuorumRecord> | null>
  list(signal?: AbortSignal): Promise<readonly Stored<QuorumRecord>[]>
  /** Writes the record if it is still as it was read (null: not there). Its version is counted up. */
  put(
    found: Stored<QuorumRecord> | null,
    record: QuorumRecord,
    options?: ChangeOptions,
  ): Promise<Stored<QuorumRecord>>
  /** The same as parts of a commit that does more. */
  putParts(found: Stored<QuorumRecord> | null, record: QuorumRecord): Required<CommitExtras>
}

function recordAt(store: CatalogStore, { keyspace, shard }: Pick<QuorumRecord, 'keyspace' | 'shard'>) {
  const key = keys.quorum(keyspace, shard)
  return {
    store,
    codec: codecs.quorum,
    key,
    what: `quorum of shard ${shard}`,
  } satisfies RecordAt<QuorumRecord>
}

/** Quorums above a store. */
export function createQuorums(store: CatalogStore): Quorums {
  return {
    get: (keyspace, shard, signal) => readRecord(recordAt(store, { keyspace, shard }), signal),
    async list(signal) {
      const { entries } = await store.read(keys.quorums, signal)
      return entries.map((entry) => parseEntry(codecs.quorum, entry))
    },
    put: (found, record, options = {}) => {
      const at = recordAt(store, record)
      if (found === null) return createRecord(at, record, options)
      return updateRecord(at, () => record, { ...options, expectedVersion: found.record.version })
    },
    putParts(found, record) {
      const at = recordAt(store, record)
      const version = (found?.record.version ?? 0) + 1
      return {
        conditions: [found === null ? { kind: 'absent', key: at.key } : unchanged(at, found)],
        writes: [putRecord(at, { ...record, version })],
      }
    },
  }
}
