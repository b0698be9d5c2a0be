// Sessions of browsers: made when somebody has signed in, removed when he signs out or somebody else signs in after their
// end. Whoever checks them has them from the live view, or asks here for one that it does not show yet.
import type { SessionRecord } from '@fleetshard/core'
import type { Sessions } from './contract.ts'
import { keys } from './keys.ts'
import { createRecord, readRecord, type RecordAt } from './record-set.ts'
import { codecs } from './records.ts'
import type { CatalogStore } from './store.ts'

const recordAt = (store: CatalogStore, id: string): RecordAt<SessionRecord> => ({
  store,
  codec: codecs.session,
  key: keys.session(id),
  what: `session ${id}`,
})

/** Sessions above a store. */
export function createSessions(store: CatalogStore): Sessions {
  const removal = (id: string) => ({ kind: 'delete' as const, key: keys.session(id) })
  return {
    get: async (id, signal) => (await readRecord(recordAt(store, id), signal))?.record ?? null,
    async create(record, over, signal) {
      const options = { writes: over.map(removal), ...(signal === undefined ? {} : { signal }) }
      await createRecord(recordAt(store, record.id), record, options)
    },
    async delete(id, signal) {
      await store.commit([], [removal(id)], signal)
    },
  }
}
