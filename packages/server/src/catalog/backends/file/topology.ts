// A topology file as the records of a catalog: one keyspace with its shards and tables, and the passwords that the
// file holds.
import { TopologyVersions, type Topology } from '@fleetshard/core/topology-file'
import { keys } from '../../keys.ts'
import { codecs } from '../../records.ts'
import type { FileDecoder } from './mod.ts'

/** Passwords of the file are found by secretRefs that begin so. */
const secretPrefix = 'catalog:'

/** A decoder with a memory of what it has let through: one for a process. */
export function createTopologyDecoder(): FileDecoder {
  const versions = new TopologyVersions()
  return (version) => entriesOf(versions.take(version))
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
