// Shards in the catalog: reading them, and changing what has no part in routing.
import { FleetError, type KeyspaceName, type ShardId, type ShardRecord } from '@fleetshard/core'
import type { ChangeOptions, Shards, Stored } from './contract.ts'
import { keys } from './keys.ts'
import { guarded, retryGuarded } from './keyspaces.ts'
import {
  checkVersion,
  commitWith,
  parseEntry,
  putRecord,
  readRecord,
  revisionOf,
  type RecordAt,
} from './record-set.ts'
import { codecs } from './records.ts'
import type { CatalogStore } from './store.ts'

function recordAt(store: CatalogStore, keyspace: KeyspaceName, id: ShardId): RecordAt<ShardRecord> {
  return { store, codec: codecs.shard, key: keys.shard(keyspace, id), what: `shard ${id}` }
}

function describe(
  at: RecordAt<ShardRecord>,
  keyspace: KeyspaceName,
  change: Parameters<Shards['describe']>[2],
  options: ChangeOptions,
): Promise<Stored<ShardRecord>> {
  return retryGuarded(at.store, keyspace, options, async (guard) => {
    const stored = await readRecord(at, options.signal)
    if (stored === null) throw new FleetError('not_found', `there is no ${at.what}`)
    const { record } = stored
    checkVersion(at.what, record.version, options.expectedVersion)
    const { name = record.name, statusReason = record.statusReason } = change(record)
    const next = { ...record, name, statusReason, version: record.version + 1 }
    const own = guarded(keyspace, guard, [putRecord(at, next)])
    const result = await commitWith(at.store, own, options, options.signal)
    return result.kind === 'conflict' ? null : { record: next, revision: revisionOf(result, at.key) }
  })
}

/** Shards above a store. */
export function createShards(store: CatalogStore): Shards {
  return {
    get: (keyspace, id, signal) => readRecord(recordAt(store, keyspace, id), signal),
    async list(keyspace, signal) {
      const { entries } = await store.read(keys.shards(keyspace), signal)
      return entries.map((entry) => parseEntry(codecs.shard, entry))
    },
    describe: (keyspace, id, change, options = {}) =>
      describe(recordAt(store, keyspace, id), keyspace, change, options),
  }
}
