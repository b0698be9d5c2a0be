// Names, ids and sequence blocks of shards that are being created: claimed at once, so that requests that run side
// by side never take the same. Only the leader creates shards, so this lives in its memory.
import { FleetError, parseShardId, type KeyspaceRecord, type ShardId } from '@fleetshard/core'
import type { Fleet } from '../fleet.ts'

/** A shard that may be created under that id. */
export interface Reservation {
  readonly id: ShardId
  readonly sequenceBlock: number
  /** Gives name and id free again; the block is never given again. */
  release(): void
}

/** Hands out names, ids and blocks. */
export interface Reservations {
  /** @throws FleetError `already_exists` */
  reserve(keyspace: KeyspaceRecord, name: string): Reservation
  /** True for a shard that is being created. */
  isReserved(id: string): boolean
}

/** Nothing is reserved. */
export function createReservations(fleet: Fleet): Reservations {
  const names = new Set<string>()
  const ids = new Set<string>()
  const lastBlocks = new Map<string, number>()

  function freeId(keyspace: string, name: string): ShardId {
    for (const candidate of candidateIds(keyspace, name)) {
      if (!ids.has(candidate) && fleet.findShard(candidate) === null) return parseShardId(candidate)
    }
    throw new FleetError('already_exists', `no id is free for a shard of the name ${JSON.stringify(name)}`)
  }

  return {
    reserve(keyspace, name) {
      const key = `${keyspace.name}/${name}`
      if (names.has(key)) throw nameTaken(name, keyspace.name, 'is being created in')
      const known = fleet.findKeyspace(keyspace.name)?.shards.find((shard) => shard.name === name)
      if (known !== undefined) throw nameTaken(name, keyspace.name, 'exists in')
      const id = freeId(keyspace.name, name)
      const blocksKey = `${keyspace.name} ${keyspace.createdAt}`
      const block = Math.max(keyspace.nextSequenceBlock, (lastBlocks.get(blocksKey) ?? -1) + 1)
      lastBlocks.set(blocksKey, block)
      names.add(key)
      ids.add(id)
      return {
        id,
        sequenceBlock: block,
        release() {
          names.delete(key)
          ids.delete(id)
        },
      }
    },
    isReserved: (id) => ids.has(id),
  }
}

/** The refusal of a name that another shard has. */
export function nameTaken(name: string, keyspace: string, how: string): FleetError {
  return new FleetError('already_exists', `a shard of the name ${JSON.stringify(name)} ${how} ${keyspace}`, {
    hint: 'choose another name; fleetshard shard list shows those that exist',
  })
}

const idCharsMax = 58
const numberedMax = 1_000

/** The name where it is a valid id, then with the keyspace before it, then with numbers. */
function* candidateIds(keyspace: string, name: string): Generator<string> {
  const plain = name.replaceAll(/[^A-Za-z0-9_-]/g, '-').slice(0, idCharsMax)
  const qualified = `${keyspace}-${plain}`.replace(/^_+/, '').slice(0, idCharsMax)
  yield plain
  yield qualified
  for (let number = 2; number <= numberedMax; number++) {
    yield `${qualified.slice(0, idCharsMax - 5)}-${String(number)}`
  }
}
