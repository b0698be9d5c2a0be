// Passwords and tokens in the catalog, sealed where the process has keys. Values go in and out and nowhere else: no log,
// no error has them. Values of before there were keys are read as they are.
import { FleetError } from '@fleetshard/core'
import type { Resealed, Secrets } from './contract.ts'
import { keys } from './keys.ts'
import { commitWith, conflict, parseEntry, readRecord, unchanged, type RecordAt } from './record-set.ts'
import { codecs, type SecretRecord } from './records.ts'
import type { SecretSealer } from './sealer.ts'
import type { CatalogStore, StoreWrite } from './store.ts'

const secretName = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$/

/** Where secrets lie, and what seals them; null where nothing does. */
export interface SecretsParts {
  readonly store: CatalogStore
  readonly sealer: SecretSealer | null
}

function recordAt(store: CatalogStore, name: string): RecordAt<SecretRecord> {
  if (!secretName.test(name)) {
    throw new FleetError('invalid_id', `${JSON.stringify(name.slice(0, 80))} is not the name of a secret`, {
      hint: `the name of a secret matches ${secretName.source}`,
    })
  }
  return { store, codec: codecs.secret, key: keys.secret(name), what: `secret ${name}` }
}

async function putWrite(
  { store, sealer }: SecretsParts,
  name: string,
  value: string,
  signal?: AbortSignal,
): Promise<StoreWrite> {
  const at = recordAt(store, name)
  const record = sealer === null ? { value } : { sealed: await sealer.seal(name, value, signal) }
  return { kind: 'put', key: at.key, value: at.codec.encode(at.key, record) }
}

/** Value of a secret. @throws FleetError `invalid_id`, `secret_unavailable` */
export async function readSecret(
  parts: SecretsParts,
  name: string,
  signal?: AbortSignal,
): Promise<string | null> {
  const stored = await readRecord(recordAt(parts.store, name), signal)
  return stored === null ? null : opened(parts, name, stored.record, signal)
}

async function opened(
  { sealer }: SecretsParts,
  name: string,
  record: SecretRecord,
  signal?: AbortSignal,
): Promise<string> {
  if ('value' in record) return record.value
  if (sealer !== null) return sealer.open(name, record.sealed, signal)
  throw new FleetError(
    'secret_unavailable',
    `the secret ${name} is sealed with the key ${record.sealed.key}, and this process has none`,
    { hint: 'give the key with secrets.key-file or FLEETSHARD_SECRETS_KEY' },
  )
}

/** Secrets above a store. */
export function createSecrets(parts: SecretsParts): Secrets {
  const { store } = parts
  return {
    get: (name, signal) => readSecret(parts, name, signal),
    async put(name, value, options = {}) {
      const own = { conditions: [], writes: [await putWrite(parts, name, value, options.signal)] }
      const result = await commitWith(store, own, options, options.signal)
      if (result.kind === 'conflict') throw conflict(`secret ${name}`)
    },
    putWrite: (name, value, signal) => putWrite(parts, name, value, signal),
    deleteWrite: (name) => ({ kind: 'delete', key: recordAt(store, name).key }),
    reseal: (options = {}) => reseal(parts, options),
  }
}

/** One commit a secret: whoever is interrupted goes on where it was. */
async function reseal(
  parts: SecretsParts,
  options: Parameters<Secrets['reseal']>[0] = {},
): Promise<Resealed> {
  const { store, sealer } = parts
  const { signal } = options
  if (sealer === null) {
    throw new FleetError('secret_unavailable', 'this process has no key to seal secrets with', {
      hint: 'give one with secrets.key-file: openssl rand -base64 32 makes it',
    })
  }
  const key = await sealer.currentKey(signal)
  const { entries } = await store.read(keys.secrets, signal)
  let sealed = 0
  for (const entry of entries) {
    const name = entry.key.slice(keys.secrets.length)
    const at = recordAt(store, name)
    const stored = parseEntry(at.codec, entry)
    if ('sealed' in stored.record && stored.record.sealed.key === key) continue
    const value = await opened(parts, name, stored.record, signal)
    const own = { conditions: [unchanged(at, stored)], writes: [await putWrite(parts, name, value, signal)] }
    const result = await commitWith(store, own, options, signal)
    // Somebody has put or removed it meanwhile; what is put is sealed with the key of whoever puts it.
    if (result.kind === 'conflict') throw conflict(`secret ${name}`)
    sealed += 1
  }
  return { key, sealed, unchanged: entries.length - sealed }
}
