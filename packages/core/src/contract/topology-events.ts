// The topology of a keyspace as manager and router tell it: whole, and as the events that turn one state into another.
import type { KeyspaceName } from '../ids.ts'
import type { KeyspaceSnapshot } from '../model.ts'
import type { KeyspaceEvent, KeyspaceTopology } from './topology.ts'
import { keyspaceView, tableView, topologyShardView } from './views.ts'

/** A keyspace with all its shards and tables. */
export function keyspaceTopology(snapshot: KeyspaceSnapshot, withVnodes: boolean): KeyspaceTopology {
  return {
    keyspace: keyspaceView(snapshot),
    shards: snapshot.shards.map((shard) => topologyShardView(shard, withVnodes)),
    tables: snapshot.tables.map(tableView),
  }
}

/** What turns one state of a keyspace into another; undefined for one that is not there. */
export function* keyspaceEvents(
  name: KeyspaceName,
  before: KeyspaceSnapshot | undefined,
  after: KeyspaceSnapshot | undefined,
  withVnodes: boolean,
): Generator<KeyspaceEvent, void, void> {
  if (before === after) return
  if (after === undefined) {
    yield { kind: 'keyspace_removed', keyspace: name }
    return
  }
  const shards = differences(before?.shards ?? [], after.shards, ({ id }) => id)
  for (const id of shards.gone) yield { kind: 'shard_removed', keyspace: name, id }
  for (const shard of shards.changed) {
    yield { kind: 'shard', shard: topologyShardView(shard, withVnodes) }
  }
  const tables = differences(before?.tables ?? [], after.tables, (table) => table.name)
  for (const table of tables.gone) yield { kind: 'table_removed', keyspace: name, name: table }
  for (const table of tables.changed) yield { kind: 'table', table: tableView(table) }
  // Last, since it carries the epoch: a reader that has it has all of that epoch.
  yield { kind: 'keyspace', keyspace: keyspaceView(after) }
}

/** Records that did not change keep their identity from one state to the next. */
function differences<T>(
  before: readonly T[],
  after: readonly T[],
  keyOf: (record: T) => string,
): { readonly changed: readonly T[]; readonly gone: readonly string[] } {
  const old = new Map(before.map((record) => [keyOf(record), record]))
  const changed = after.filter((record) => old.get(keyOf(record)) !== record)
  for (const record of after) old.delete(keyOf(record))
  return { changed, gone: [...old.keys()] }
}
