// A key that comes without its table's name, in a keyspace whose tables have keys of different types.
import { FleetError, isFleetError } from '../errors/fleet-error.ts'
import type { CanonicalKey } from '../key/canonical-key.ts'
import type { KeyType, ShardRecord, TableRecord } from '../model.ts'
import type { ShardMap } from './shard-map.ts'

/**
 * The shard of a key without its table: by the common type of the tables, or, where they differ, the shard on which
 * every type that can read the key puts it. Under murmur3 and xxhash that is one shard as long as the key is written
 * the same in all of them.
 * @param read gives the key by a type
 * @throws FleetError `invalid_shard_key` when no type can read it, or two put it on different shards; `no_shard`
 */
export function ownerOfUntyped(map: ShardMap, read: (type: KeyType) => CanonicalKey): ShardRecord {
  if (map.keyType !== null) return map.shardFor(read(map.keyType), map.keyType)
  let found: { readonly shard: ShardRecord; readonly table: Keyed } | null = null
  let unread: unknown = null
  for (const table of onePerType(map)) {
    let key: CanonicalKey
    try {
      key = read(table.keyType)
    } catch (error) {
      if (!isFleetError(error, 'invalid_shard_key')) throw error
      unread ??= error
      continue
    }
    const shard = map.shardFor(key, table.keyType)
    if (found !== null && found.shard !== shard) throw ambiguous(found, { shard, table })
    found ??= { shard, table }
  }
  if (found === null) throw unread
  return found.shard
}

type Keyed = TableRecord & { readonly keyType: KeyType }

function onePerType({ tables }: ShardMap): Iterable<Keyed> {
  const byType = new Map<KeyType, Keyed>()
  for (const table of tables.values()) {
    const { kind, keyType } = table
    if (kind === 'sharded' && keyType !== null && !byType.has(keyType))
      byType.set(keyType, { ...table, keyType })
  }
  return byType.values()
}

interface Found {
  readonly shard: ShardRecord
  readonly table: Keyed
}

function ambiguous(one: Found, other: Found): FleetError {
  const placed = ({ shard, table }: Found): string => `${shard.name} as ${table.keyType} of ${table.name}`
  return new FleetError(
    'invalid_shard_key',
    `the key alone tells no shard: it lies on ${placed(one)} and on ${placed(other)}`,
    {
      hint: 'name the shard: options.shard_id, which GET /v1/shard-for-key?table= tells; in the client a handle of db.shards()',
    },
  )
}
