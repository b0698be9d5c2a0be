// Making keyspaces, and making them out of existing databases.
import {
  FleetError,
  parseKeyspaceName,
  vnodeCountDefault,
  type Consistency,
  type Durability,
  type HashName,
  type KeyspaceRecord,
  type KeyspaceSnapshot,
} from '@fleetshard/core'
import type { Adopt, TableSuggestion } from '@fleetshard/core/contract'
import type { Work } from './parts.ts'
import { createShard } from './shards/create.ts'
import { primaryOf } from './shards/fence.ts'
import { targetOf } from './shards/node-group.ts'
import type { Placed } from './shards/place.ts'
import { suggestionView } from './views.ts'

/** What a keyspace is to be. */
export interface KeyspaceOrder {
  readonly name: string
  readonly hash?: HashName | undefined
  readonly defaultConsistency?: Consistency | undefined
  readonly durability?: Durability | undefined
}

/** @throws FleetError `already_exists` */
export async function createKeyspace(work: Work, order: KeyspaceOrder): Promise<KeyspaceSnapshot> {
  const { parts, change, signal } = work
  const record: KeyspaceRecord = {
    name: parseKeyspaceName(order.name),
    engine: 'postgres',
    hash: order.hash ?? 'murmur3',
    strategy: 'ring',
    defaultConsistency: order.defaultConsistency ?? 'strong',
    ...(order.durability === undefined ? {} : { durability: order.durability }),
    nextSequenceBlock: 0,
    version: 1,
    createdAt: new Date(parts.clock.now()).toISOString(),
  }
  await parts.catalog.keyspaces.create(record, { conditions: [change.condition], signal })
  await parts.fleet.shown(
    ({ keyspaces }) => keyspaces.get(record.name)?.keyspace.createdAt === record.createdAt,
  )
  return (await parts.routing.base(record.name, signal)).snapshot
}

/** The keyspace of that name, made if it is missing: the first shard of all needs no keyspace made before it. */
export async function ensureKeyspace(work: Work, name: string): Promise<KeyspaceSnapshot> {
  const { parts, signal } = work
  const known = parts.fleet.findKeyspace(name)
  if (known !== null) return known
  return parts.mutex.run(name, signal, async () => {
    return parts.fleet.findKeyspace(name) ?? createKeyspace(work, { name })
  })
}

/** What adopting a database made. */
export interface Adopted {
  readonly placed: Placed
  readonly suggestions: readonly TableSuggestion[]
}

/**
 * Makes an existing database the one shard of a keyspace; no row moves and no table is declared.
 * @throws FleetError `already_exists` when the keyspace has shards, and what creating a shard throws
 */
export async function adopt(work: Work, name: string, body: Adopt): Promise<Adopted> {
  const { parts } = work
  const known = parts.fleet.findKeyspace(name)
  if (known !== null && known.shards.length > 0) {
    throw new FleetError('already_exists', `the keyspace ${name} has shards already`, {
      hint: 'adopt a database under a name of its own',
    })
  }
  if (known !== null && body.hash !== undefined && body.hash !== known.keyspace.hash) {
    throw new FleetError('conflict', `the keyspace ${name} has the hash ${known.keyspace.hash}`, {
      retryable: false,
      hint: 'leave hash out, or adopt under another name',
    })
  }
  const keyspace = known ?? (await createKeyspace(work, { name, hash: body.hash }))
  try {
    const placed = await createShard(work, keyspace, {
      name: body.shard_name ?? `${name.replace(/^_+/, '')}-01`.slice(-63),
      source: { kind: 'endpoints', primary: body.primary_endpoint, replicas: body.replicas ?? [] },
      vnodeCount: body.vnode_count ?? vnodeCountDefault,
    })
    return { placed, suggestions: await suggest(work, placed.stored.snapshot) }
  } catch (error) {
    if (known === null) await removeEmpty(work, keyspace)
    throw error
  }
}

async function removeEmpty({ parts, change }: Work, { keyspace }: KeyspaceSnapshot): Promise<void> {
  try {
    await parts.catalog.keyspaces.delete(keyspace.name, { conditions: [change.condition] })
  } catch (error) {
    parts.log.warn({ err: error, keyspace: keyspace.name }, 'the keyspace of a failed adoption is left over')
  }
}

/** What introspection of the keyspace's first shard suggests for each of its tables. */
export async function suggest(
  { parts, engine }: Pick<Work, 'parts' | 'engine'>,
  snapshot: KeyspaceSnapshot,
  signal: AbortSignal = AbortSignal.timeout(suggestMsMax),
): Promise<readonly TableSuggestion[]> {
  const [first] = snapshot.shards
    .filter(({ vnodes }) => vnodes !== '')
    .toSorted((a, b) => a.sequenceBlock - b.sequenceBlock)
  if (first === undefined) {
    throw new FleetError('conflict', `the keyspace ${snapshot.keyspace.name} has no shard to look at`, {
      retryable: false,
      hint: 'create one first: fleetshard shard create',
    })
  }
  const tables = await engine.describeTables(await targetOf(parts, primaryOf(first), signal), { signal })
  const declared = new Set(snapshot.tables.map(({ name }) => name))
  const facts = new Map(tables.map((table) => [table.name, table]))
  return engine
    .suggestTables(tables)
    .map((one) => suggestionView(one, facts.get(one.table), declared.has(one.table)))
}

const suggestMsMax = 15_000
