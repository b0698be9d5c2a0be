// Declared tables in the catalog.
import { FleetError, type KeyspaceName, type TableRecord } from '@fleetshard/core'
import type { ChangeOptions, Stored, Tables } from './contract.ts'
import { keys } from './keys.ts'
import { guarded, notFound, retryGuarded } from './keyspaces.ts'
import {
  checkVersion,
  commitWith,
  parseEntry,
  putRecord,
  readEntry,
  readRecord,
  revisionOf,
  type RecordAt,
} from './record-set.ts'
import { codecs } from './records.ts'
import type { CatalogStore, StoreWrite } from './store.ts'

/** At most this many tables are declared in one commit. */
export const tablesAtOnceMax = 56

function recordAt(store: CatalogStore, keyspace: KeyspaceName, name: string): RecordAt<TableRecord> {
  return { store, codec: codecs.table, key: keys.table(keyspace, name), what: `table ${name}` }
}

async function create(
  store: CatalogStore,
  records: readonly TableRecord[],
  options: ChangeOptions,
): Promise<readonly Stored<TableRecord>[]> {
  const [first] = records
  if (first === undefined) return []
  const { keyspace } = first
  if (records.length > tablesAtOnceMax || records.some((record) => record.keyspace !== keyspace)) {
    throw new FleetError(
      'catalog_limit',
      `${records.length} tables at once, or tables of several keyspaces`,
      {
        hint: `declare at most ${tablesAtOnceMax} tables of one keyspace at once`,
      },
    )
  }
  const made = records.map((record) => ({ ...record, version: 1 }))
  const writes = made.map((record) => putRecord(recordAt(store, keyspace, record.name), record))
  return retryGuarded(store, keyspace, options, async (guard) => {
    await checkAbsent(store, keyspace, made, options.signal)
    const result = await commitWith(store, guarded(keyspace, guard, writes), options, options.signal)
    if (result.kind === 'conflict') return null
    return made.map((record) => ({ record, revision: revisionOf(result, keys.table(keyspace, record.name)) }))
  })
}

/** Read after the guard, so that a table or a keyspace that changed since makes the commit conflict. */
async function checkAbsent(
  store: CatalogStore,
  keyspace: KeyspaceName,
  records: readonly TableRecord[],
  signal?: AbortSignal,
): Promise<void> {
  if ((await readEntry(store, keys.keyspace(keyspace), signal)) === null) throw notFound(keyspace)
  const { entries } = await store.read(keys.tables(keyspace), signal)
  const taken = new Set(entries.map((entry) => entry.key))
  const found = records.find((record) => taken.has(keys.table(keyspace, record.name)))
  if (found !== undefined) throw new FleetError('already_exists', `the table ${found.name} exists already`)
}

/** Reads the table and tries the writes that it leads to, under the guard of its keyspace. */
function changeTable<R>(
  at: RecordAt<TableRecord>,
  keyspace: KeyspaceName,
  options: ChangeOptions,
  plan: (record: TableRecord) => { readonly write: StoreWrite; readonly outcome: R },
): Promise<{ readonly outcome: R; readonly revisions: ReadonlyMap<string, Stored<unknown>['revision']> }> {
  return retryGuarded(at.store, keyspace, options, async (guard) => {
    const stored = await readRecord(at, options.signal)
    if (stored === null) throw new FleetError('not_found', `there is no ${at.what}`)
    checkVersion(at.what, stored.record.version, options.expectedVersion)
    const { write, outcome } = plan(stored.record)
    const result = await commitWith(at.store, guarded(keyspace, guard, [write]), options, options.signal)
    return result.kind === 'conflict' ? null : { outcome, revisions: result.revisions }
  })
}

async function update(
  at: RecordAt<TableRecord>,
  keyspace: KeyspaceName,
  change: (record: TableRecord) => TableRecord,
  options: ChangeOptions,
): Promise<Stored<TableRecord>> {
  const done = await changeTable(at, keyspace, options, (record) => {
    const next = { ...change(record), version: record.version + 1 }
    return { write: putRecord(at, next), outcome: next }
  })
  return { record: done.outcome, revision: revisionOf(done, at.key) }
}

/** Tables above a store. */
export function createTables(store: CatalogStore): Tables {
  return {
    get: (keyspace, name, signal) => readRecord(recordAt(store, keyspace, name), signal),
    async list(keyspace, signal) {
      const { entries } = await store.read(keys.tables(keyspace), signal)
      return entries.map((entry) => parseEntry(codecs.table, entry))
    },
    create: (records, options = {}) => create(store, records, options),
    update: (keyspace, name, change, options = {}) =>
      update(recordAt(store, keyspace, name), keyspace, change, options),
    async delete(keyspace, name, options = {}) {
      const at = recordAt(store, keyspace, name)
      await changeTable(at, keyspace, options, () => ({
        write: { kind: 'delete', key: at.key },
        outcome: null,
      }))
    },
  }
}
