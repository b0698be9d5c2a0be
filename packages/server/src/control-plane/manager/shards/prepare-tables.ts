// Brings the declared tables of a keyspace to a database that is about to become one of its shards.
import { FleetError, type KeyspaceSnapshot, type ShardId, type TableRecord } from '@fleetshard/core'
import {
  shapeDifference,
  storedStatements,
  type NodeTarget,
  type TableDeclaration,
  type TableFacts,
} from '../../../engine/mod.ts'
import type { Work } from '../parts.ts'
import { primaryOf } from './fence.ts'
import { targetOf } from './node-group.ts'

/** The database and whose it is. */
export interface NewDatabase {
  readonly shard: ShardId
  readonly sequenceBlock: number
  readonly target: NodeTarget
}

/**
 * Creates those that are missing and holds those that are there to the rules; all must be empty.
 * @returns null when the database is ready, or why it is not, for people
 */
export async function prepareTables(
  work: Work,
  keyspace: Pick<KeyspaceSnapshot, 'tables' | 'shards'>,
  database: NewDatabase,
): Promise<string | null> {
  if (keyspace.tables.length === 0) return null
  try {
    return await prepare(work, keyspace, database)
  } catch (error) {
    work.signal.throwIfAborted()
    if (!(error instanceof FleetError)) throw error
    const hint = error.hint === undefined ? '' : ` (${error.hint})`
    return `the declared tables could not be made on it: ${error.message}${hint}`
  }
}

async function prepare(
  work: Work,
  { tables, shards }: Pick<KeyspaceSnapshot, 'tables' | 'shards'>,
  { shard, sequenceBlock, target }: NewDatabase,
): Promise<string | null> {
  const { engine } = work
  const bounds = { signal: work.signal }
  const facts = new Map((await engine.describeTables(target, bounds)).map((table) => [table.name, table]))
  const present = tables.filter((table) => facts.has(table.name))
  const missing = tables.filter((table) => !facts.has(table.name))

  const declared = present.map(declarationOf)
  for (const table of present) {
    const found = facts.get(table.name)
    if (found !== undefined) engine.checkDeclaration(found, declarationOf(table), declared)
  }
  const unlike = await unlikeOthers(work, shards, {
    shard,
    tables: present.flatMap(({ name }) => facts.get(name) ?? []),
  })
  if (unlike !== null) return unlike
  const names = present.map(({ name }) => name)
  const filled = names.length === 0 ? null : await engine.findRows(target, names, bounds)
  if (filled !== null) {
    return `its table ${filled} holds rows already; a shard that joins others must be empty`
  }
  if (names.length > 0) await engine.alignSequences(target, { tables: names, sequenceBlock }, bounds)
  if (missing.length === 0) return null

  const stored = storedStatements(missing)
  if (stored.missing.length > 0) {
    const list = stored.missing.slice(0, 5).join(', ')
    return `it lacks ${list}, whose statements are not known since they were adopted; create them there (pg_dump --schema-only), then set the status to active`
  }
  const declarations = missing.map(declarationOf)
  const { statements } = stored
  await engine.applySchema(target, { shard, statements, declarations, declared, sequenceBlock }, bounds)
  return null
}

/** Why the tables that it brought along would make statements mean other things there; null when they would not. */
async function unlikeOthers(
  work: Work,
  shards: KeyspaceSnapshot['shards'],
  brought: { readonly shard: ShardId; readonly tables: readonly TableFacts[] },
): Promise<string | null> {
  const model = shards.find(({ id, vnodes }) => vnodes !== '' && id !== brought.shard)
  if (model === undefined || brought.tables.length === 0) return null
  const { parts, engine, signal } = work
  const found = await engine.describeTables(await targetOf(parts, primaryOf(model), signal), { signal })
  for (const table of brought.tables) {
    const same = found.find(({ name }) => name === table.name)
    const difference = same === undefined ? null : shapeDifference(same, table, [model.id, brought.shard])
    if (difference !== null)
      return `its table ${table.name} is not like that of the other shards: ${difference}`
  }
  return null
}

/** A stored table as the engine's rules read it. */
export function declarationOf(table: TableRecord): TableDeclaration {
  const { name, kind, keyColumn, homeShard } = table
  return { name, kind, keyColumn, homeShard, triggersKeepKey: true }
}
