// Tokens of the API: made and revoked. Whoever checks them has them from the live view.
import { FleetError, type TokenRecord } from '@fleetshard/core'
import type { Tokens } from './contract.ts'
import { keys } from './keys.ts'
import { commitWith, conflict, createRecord, readRecord, unchanged, type RecordAt } from './record-set.ts'
import { codecs } from './records.ts'
import type { CatalogStore } from './store.ts'

const recordAt = (store: CatalogStore, id: string): RecordAt<TokenRecord> => ({
  store,
  codec: codecs.token,
  key: keys.token(id),
  what: `token ${id}`,
})

/** Tokens above a store. */
export function createTokens(store: CatalogStore): Tokens {
  return {
    create: (record, options = {}) => createRecord(recordAt(store, record.id), record, options),
    async delete(id, options = {}) {
      const at = recordAt(store, id)
      const stored = await readRecord(at, options.signal)
      if (stored === null) throw new FleetError('not_found', `there is no ${at.what}`)
      const own = {
        conditions: [unchanged(at, stored)],
        writes: [{ kind: 'delete' as const, key: at.key }],
      }
      const result = await commitWith(store, own, options, options.signal)
      if (result.kind === 'conflict') throw conflict(at.what)
    },
  }
}
