// What a process has served under each keyspace of a topology file, and whether a newer version of the file may take
// its place while the process runs. No job moves rows in static mode, so a version under which a key would belong to
// another shard would make rows disappear (invariant 2): such a version is refused.
import type { KeyspaceSnapshot, TableRecord } from '../model.ts'
import { databaseKey } from './read.ts'

/** Keyspaces and databases that are remembered; a file that changes more often needs a restart. */
const keyspacesMax = 64
const databasesMax = 65_536

interface Served {
  readonly strategy: string
  readonly hash: string
  /** Tokens by the shard's id. */
  readonly shards: ReadonlyMap<string, string>
  /** Every table that was ever declared, so that one can't come back with another key. */
  readonly tables: Map<string, TableRecord>
  /** Which shard's rows are in a database: every one that was ever listed. */
  readonly databases: Map<string, string>
}

/** A memory of one process. */
export class ServedPlacement {
  readonly #served = new Map<string, Served>()

  /** Why that version may not be served now, one sentence; null when it may. */
  refusal(offered: KeyspaceSnapshot): string | null {
    const served = this.#served.get(offered.keyspace.name)
    if (served === undefined) {
      return this.#served.size < keyspacesMax
        ? null
        : `the keyspace had ${String(keyspacesMax)} other names since the start`
    }
    return (
      placementRefusal(served, offered) ?? databaseRefusal(served, offered) ?? tableRefusal(served, offered)
    )
  }

  /** That version is served from now on. */
  serve(snapshot: KeyspaceSnapshot): void {
    const { keyspace, shards, tables } = snapshot
    const known = this.#served.get(keyspace.name)
    const served: Served = {
      strategy: keyspace.strategy,
      hash: keyspace.hash,
      shards: new Map(shards.map(({ id, vnodes }) => [id, vnodes])),
      tables: known?.tables ?? new Map<string, TableRecord>(),
      databases: known?.databases ?? new Map<string, string>(),
    }
    for (const table of tables) served.tables.set(table.name, table)
    for (const { id, nodes } of shards) for (const node of nodes) served.databases.set(databaseKey(node), id)
    this.#served.set(keyspace.name, served)
  }
}

function placementRefusal(served: Served, { keyspace, shards }: KeyspaceSnapshot): string | null {
  if (keyspace.strategy !== served.strategy || keyspace.hash !== served.hash) {
    return `keys would be placed by ${keyspace.hash} and ${keyspace.strategy} instead of ${served.hash} and ${served.strategy}`
  }
  const before = [...served.shards.keys()]
  const now = shards.map(({ id }) => String(id))
  if (now.length !== before.length || now.some((id) => !served.shards.has(id))) {
    return `keys would be placed on shards ${rangeText(now)} instead of ${rangeText(before)}`
  }
  const changed = shards.find(({ id, vnodes }) => served.shards.get(id) !== vnodes)
  return changed === undefined ? null : `shard ${changed.id} would own other parts of the ring`
}

function databaseRefusal(served: Served, { shards }: KeyspaceSnapshot): string | null {
  for (const { id, nodes } of shards) {
    for (const node of nodes) {
      const owner = served.databases.get(databaseKey(node))
      if (owner !== undefined && owner !== id) {
        return `the database ${node.database} on ${node.host}:${String(node.port)} holds the rows of shard ${owner}, not of shard ${id}`
      }
    }
  }
  return served.databases.size < databasesMax
    ? null
    : `the file has named ${String(databasesMax)} databases since the start`
}

function tableRefusal(served: Served, { tables }: KeyspaceSnapshot): string | null {
  for (const table of tables) {
    const before = served.tables.get(table.name)
    if (before === undefined) continue
    if (before.kind !== table.kind || before.homeShard !== table.homeShard) {
      return `table ${table.name} would be kept otherwise than its rows are`
    }
    if (before.keyColumn !== table.keyColumn || before.keyType !== table.keyType) {
      return `rows of ${table.name} would be looked for by ${keyText(table)} instead of ${keyText(before)}`
    }
  }
  return null
}

const keyText = ({ keyColumn, keyType }: TableRecord): string => `${keyColumn ?? ''} (${keyType ?? ''})`

const rangeText = (ids: readonly string[]): string =>
  ids.length > 8 ? `${String(ids[0])} to ${String(ids.at(-1))}` : ids.join(', ')
