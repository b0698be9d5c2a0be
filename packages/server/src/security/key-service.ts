// The keys that data keys are wrapped with. A key management service is one way to have them; the local one holds them
// itself, out of a file or the environment.
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { FleetError } from '@fleetshard/core'

/**
 * Wraps and unwraps data keys. `context` is what a wrapped key is for: it is not unwrapped for anything else. All
 * throw FleetError `secret_unavailable` when the service does not answer or does not have the key.
 */
export interface KeyService {
  /** Id of the key that `wrap` uses. */
  current(signal?: AbortSignal): Promise<string>
  /** @returns the wrapped key, and the id of the key that unwraps it */
  wrap(
    dataKey: Buffer,
    context: string,
    signal?: AbortSignal,
  ): Promise<{ readonly key: string; readonly wrapped: Buffer }>
  unwrap(key: string, wrapped: Buffer, context: string, signal?: AbortSignal): Promise<Buffer>
}

/** Where the local service has its keys: the first is used to wrap, the others unwrap what was wrapped before. */
export type KeySource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'text'; readonly text: string }

const keyBytes = 32
const ivBytes = 12
const tagBytes = 16
const idHexDigits = 12
/** Keys in one file: those of rotations that are not finished. */
const keysMax = 16
const algorithm = 'aes-256-gcm'

interface LocalKey {
  readonly id: string
  readonly bytes: Buffer
}

/** Holds keys itself. A file is read at each use, so that a rotation needs no restart. Does no I/O. */
export function createLocalKeyService(source: KeySource): KeyService {
  const first = async (): Promise<LocalKey> => {
    const [key] = await readKeys(source)
    if (key === undefined) throw unusable(source, 'has no key')
    return key
  }
  return {
    current: async () => (await first()).id,
    async wrap(dataKey, context) {
      const { id, bytes } = await first()
      return { key: id, wrapped: encrypt(bytes, dataKey, context) }
    },
    async unwrap(id, wrapped, context) {
      const keys = await readKeys(source)
      const key = keys.find((known) => known.id === id)
      if (key !== undefined) return decrypt(key.bytes, wrapped, context)
      throw new FleetError(
        'secret_unavailable',
        `${context} is sealed with the key ${id}, and this process has ${keys.map((known) => known.id).join(', ')}`,
        { hint: `add that key to ${nameOf(source)}, behind the one that is used for new values` },
      )
    },
  }
}

/** AES-256-GCM: iv, ciphertext and tag in one. The context is authenticated, not stored. */
export function encrypt(key: Buffer, plain: Buffer, context: string): Buffer {
  const iv = randomBytes(ivBytes)
  const cipher = createCipheriv(algorithm, key, iv).setAAD(Buffer.from(context))
  return Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** @throws FleetError `secret_unavailable` for bytes that this key has not encrypted for that context */
export function decrypt(key: Buffer, sealed: Buffer, context: string): Buffer {
  try {
    const decipher = createDecipheriv(algorithm, key, sealed.subarray(0, ivBytes), {
      authTagLength: tagBytes,
    })
    decipher.setAAD(Buffer.from(context)).setAuthTag(sealed.subarray(-tagBytes))
    return Buffer.concat([decipher.update(sealed.subarray(ivBytes, -tagBytes)), decipher.final()])
  } catch (cause) {
    throw new FleetError('secret_unavailable', `${context} cannot be opened: it was changed, or moved`, {
      hint: 'put the secret anew; look who writes to the catalog',
      cause,
    })
  }
}

/** A new key, in the form that key files have. */
export const makeKey = (): string => randomBytes(keyBytes).toString('base64')

async function readKeys(source: KeySource): Promise<readonly LocalKey[]> {
  const words = (await textOf(source))
    .split('\n')
    .map((line) => line.replace(/#.*/, ''))
    .flatMap((line) => line.split(/[\s,]+/))
    .filter((word) => word !== '')
  if (words.length > keysMax) throw unusable(source, `has more than ${String(keysMax)} keys`)
  return words.map((word) => keyOf(source, word))
}

async function textOf(source: KeySource): Promise<string> {
  if (source.kind === 'text') return source.text
  try {
    return await readFile(source.path, 'utf8')
  } catch (cause) {
    throw unusable(source, 'cannot be read', cause)
  }
}

/** The id is of the key itself, so that the same key has the same id in every process. */
function keyOf(source: KeySource, word: string): LocalKey {
  const bytes = Buffer.from(word, /^[0-9a-fA-F]{64}$/.test(word) ? 'hex' : 'base64')
  if (bytes.length !== keyBytes)
    throw unusable(source, `has something that is no key of ${String(keyBytes)} bytes`)
  const id = createHash('sha256').update('fleetshard secrets key\0').update(bytes).digest('hex')
  return { id: id.slice(0, idHexDigits), bytes }
}

const nameOf = (source: KeySource): string =>
  source.kind === 'file' ? source.path : 'secrets.key (FLEETSHARD_SECRETS_KEY)'

function unusable(source: KeySource, why: string, cause?: unknown): FleetError {
  return new FleetError('secret_unavailable', `${nameOf(source)} ${why}`, {
    hint: 'keys of 32 bytes in base64, one a line: openssl rand -base64 32 makes one',
    ...(cause === undefined ? {} : { cause }),
  })
}
