// A topology file as the records of a catalog: one keyspace with its shards and tables, and the passwords that the
// file holds. Versions under which rows would be looked for where they are not are refused.
import { FleetError, parseEpoch, type Epoch } from '@fleetshard/core'
import { parseTopologyFile, ServedPlacement, type Topology } from '@fleetshard/core/topology-file'
import { keys } from '../../keys.ts'
import { codecs } from '../../records.ts'
import type { FileVersion } from './look.ts'
import type { FileDecoder } from './mod.ts'

/** Passwords of the file are found by secretRefs that begin so. */
const secretPrefix = 'catalog:'

/** A decoder with a memory of what it has let through: one for a process. */
export function createTopologyDecoder(): FileDecoder {
  const served = new ServedPlacement()
  let epoch: Epoch | null = null
  return (version) => {
    const next = epochOf(version, epoch)
    const topology = parseTopologyFile(version.text, { name: version.path, epoch: next })
    const refusal = served.refusal(topology.snapshot)
    if (refusal !== null) throw refused(version.path, refusal)
    served.serve(topology.snapshot)
    epoch = next
    return entriesOf(topology)
  }
}

/**
 * The time of the file's last change, in seconds: routers that read copies of one file agree on which of two versions
 * is the newer, also across restarts. Never lower than, or equal to, the one before.
 */
function epochOf({ changedAtMs }: FileVersion, before: Epoch | null): Epoch {
  return parseEpoch(Math.max(1, Math.floor(changedAtMs / 1000), (before ?? 0) + 1))
}

function entriesOf({ snapshot, passwords }: Topology): ReadonlyMap<string, string> {
  const { keyspace, epoch, shards, tables } = snapshot
  const { name } = keyspace
  const entries = new Map<string, string>()
  const put = (key: string, encode: (at: string) => string): void => {
    entries.set(key, encode(key))
  }
  put(keys.keyspace(name), (key) => codecs.keyspace.encode(key, keyspace))
  put(keys.epoch(name), (key) => codecs.epoch.encode(key, { epoch }))
  for (const shard of shards) put(keys.shard(name, shard.id), (key) => codecs.shard.encode(key, shard))
  for (const table of tables) put(keys.table(name, table.name), (key) => codecs.table.encode(key, table))
  for (const [secretRef, value] of passwords) {
    put(keys.secret(secretRef.slice(secretPrefix.length)), (key) => codecs.secret.encode(key, { value }))
  }
  return entries
}

function refused(path: string, why: string): FleetError {
  return new FleetError(
    'invalid_config',
    `${path} changes where rows are looked for, and nothing has moved them: ${why}`,
    {
      hint:
        'put the file back; to change placement, stop writes, move the rows, and restart all routers with the new ' +
        'file, or give the keyspace a new name',
    },
  )
}
