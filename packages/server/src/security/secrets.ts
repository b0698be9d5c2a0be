// From a secretRef of a record to the password itself. The only place that reads secrets for others; values are held
// in memory for a short time and are in no log and no error.
import { readFile } from 'node:fs/promises'
import { FleetError, type Clock } from '@fleetshard/core'

/** How long a value is taken from memory: a rotated password is picked up after that, or after `forget`. */
export const secretCacheMs = 60_000
/** Most values held; the oldest go first. */
export const secretCacheEntriesMax = 10_000
/** Largest secret file. */
export const secretFileBytesMax = 64 * 1024

/** Where secrets come from. */
export interface SecretSources {
  /** The value of an environment variable; the process's environment is read by the configuration only. */
  readonly env: (name: string) => string | undefined
  /** A secret of the catalog by name; null when there is none. */
  readonly catalog: (name: string, signal?: AbortSignal) => Promise<string | null>
}

/** Resolves secretRefs. */
export interface SecretResolver {
  /**
   * `env:NAME`, `file:/path` (one trailing newline is dropped), `catalog:name`; null for null.
   * @throws FleetError `secret_unavailable`, `invalid_config` for another form, the catalog's own errors
   */
  resolve(secretRef: string | null, signal?: AbortSignal): Promise<string | null>
  /** Reads it anew next time: after a login was refused. */
  forget(secretRef: string): void
}

interface Held {
  readonly value: Promise<string>
  readonly readAt: number
}

/** A resolver with a memory of its own. */
export function createSecretResolver(parts: {
  readonly sources: SecretSources
  readonly clock: Clock
}): SecretResolver {
  const held = new Map<string, Held>()
  const read = async (secretRef: string, signal?: AbortSignal): Promise<string> => {
    const known = held.get(secretRef)
    const now = parts.clock.monotonic()
    if (known !== undefined && now - known.readAt < secretCacheMs) return known.value
    const value = readSecret(parts.sources, secretRef, signal)
    remember(held, secretRef, { value, readAt: now })
    try {
      return await value
    } catch (error) {
      // A failure is not held: the next caller may have more luck (or a signal that has not aborted).
      if (held.get(secretRef)?.value === value) held.delete(secretRef)
      throw error
    }
  }
  return {
    resolve: (secretRef, signal) => (secretRef === null ? Promise.resolve(null) : read(secretRef, signal)),
    forget: (secretRef) => void held.delete(secretRef),
  }
}

function remember(held: Map<string, Held>, secretRef: string, entry: Held): void {
  held.delete(secretRef)
  held.set(secretRef, entry)
  if (held.size <= secretCacheEntriesMax) return
  const [oldest] = held.keys()
  if (oldest !== undefined) held.delete(oldest)
}

async function readSecret(sources: SecretSources, secretRef: string, signal?: AbortSignal): Promise<string> {
  const colon = secretRef.indexOf(':')
  const source = secretRef.slice(0, Math.max(0, colon))
  const name = secretRef.slice(colon + 1)
  if (name === '') throw unknownForm(secretRef)
  switch (source) {
    case 'env':
      return present(sources.env(name), `the environment variable ${name} is not set`)
    case 'catalog':
      return present(await sources.catalog(name, signal), `the catalog has no secret ${name}`)
    case 'file':
      return readSecretFile(name, signal)
    default:
      throw unknownForm(secretRef)
  }
}

/** The text may be a password that was put in the wrong place: it is not repeated. */
function unknownForm(secretRef: string): FleetError {
  return new FleetError(
    'invalid_config',
    `a secretRef of ${String(secretRef.length)} characters has no known form`,
    {
      hint: 'a secretRef is env:NAME, file:/absolute/path or catalog:name',
    },
  )
}

function present(value: string | null | undefined, missing: string): string {
  if (value !== null && value !== undefined && value !== '') return value
  throw new FleetError('secret_unavailable', missing, { hint: 'provide it, or correct the secretRef' })
}

async function readSecretFile(path: string, signal?: AbortSignal): Promise<string> {
  let bytes: Buffer
  try {
    bytes = await readFile(path, signal === undefined ? {} : { signal })
  } catch (cause) {
    signal?.throwIfAborted()
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unreadable'
    throw new FleetError('secret_unavailable', `the secret file ${path} cannot be read (${reason})`, {
      hint: 'the user that runs this process must be able to read the file',
      cause,
    })
  }
  if (bytes.byteLength > secretFileBytesMax) {
    throw new FleetError('secret_unavailable', `${path} is too large to be a secret`, {
      hint: `a secret file has at most ${String(secretFileBytesMax)} bytes`,
    })
  }
  return present(bytes.toString('utf8').replace(/\r?\n$/, ''), `the secret file ${path} is empty`)
}
