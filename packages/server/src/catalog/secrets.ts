// Passwords and tokens in the catalog. Values go in and out and nowhere else: no log, no error has them.
import { FleetError } from '@fleetshard/core'
import type { Secrets } from './contract.ts'
import { keys } from './keys.ts'
import { commitWith, conflict, readRecord, type RecordAt } from './record-set.ts'
import { codecs } from './records.ts'
import type { CatalogStore, StoreWrite } from './store.ts'

const secretName = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$/

function recordAt(store: CatalogStore, name: string): RecordAt<{ readonly value: string }> {
  if (!secretName.test(name)) {
    throw new FleetError('invalid_id', `${JSON.stringify(name.slice(0, 80))} is not the name of a secret`, {
      hint: `the name of a secret matches ${secretName.source}`,
    })
  }
  return { store, codec: codecs.secret, key: keys.secret(name), what: `secret ${name}` }
}

function putWrite(store: CatalogStore, name: string, value: string): StoreWrite {
  const at = recordAt(store, name)
  return { kind: 'put', key: at.key, value: at.codec.encode(at.key, { value }) }
}

/** Value of a secret. @throws FleetError `invalid_id` */
export async function readSecret(
  store: CatalogStore,
  name: string,
  signal?: AbortSignal,
): Promise<string | null> {
  return (await readRecord(recordAt(store, name), signal))?.record.value ?? null
}

/** Secrets above a store. */
export function createSecrets(store: CatalogStore): Secrets {
  return {
    get: (name, signal) => readSecret(store, name, signal),
    async put(name, value, options = {}) {
      const own = { conditions: [], writes: [putWrite(store, name, value)] }
      const result = await commitWith(store, own, options, options.signal)
      if (result.kind === 'conflict') throw conflict(`secret ${name}`)
    },
    putWrite: (name, value) => putWrite(store, name, value),
    deleteWrite: (name) => ({ kind: 'delete', key: recordAt(store, name).key }),
  }
}
