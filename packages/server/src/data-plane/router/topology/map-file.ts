// The copy of the shard maps on disk, so that a router that starts while the catalog is down still knows them.
// It holds the passwords of the nodes and the digests of tokens as well, hence mode 0600. One JSON value a line: head, then the keyspaces.
import { chmod, open, readFile, rename, stat } from 'node:fs/promises'
import { FleetError, type Clock, type KeyspaceSnapshot, type TokenRecord } from '@fleetshard/core'
import { encodeSnapshot, parseSnapshot, type RouterPort } from '../../../catalog/router-port.ts'
import type { Logger } from '../../../runtime/mod.ts'
import type { KnownTokens } from '../../../security/mod.ts'
import Type from 'typebox'
import { Compile } from 'typebox/compile'

/** What the copy holds. */
export interface MapCopy {
  /** The cluster's uuid; null when it was not known. */
  readonly cluster: string | null
  /** Passwords by the name that a secretRef has behind `catalog:`. */
  readonly secrets: Readonly<Record<string, string>>
  /** Of the API. */
  readonly tokens: readonly TokenRecord[]
  readonly keyspaces: readonly KeyspaceSnapshot[]
}

/** A copy with the time it was written. */
export interface LoadedCopy extends MapCopy {
  /** Wall time, milliseconds. */
  readonly savedAtMs: number
}

const head = Compile(
  Type.Object({
    version: Type.Literal(1),
    cluster: Type.Union([Type.String(), Type.Null()]),
    secrets: Type.Record(Type.String(), Type.String()),
    tokens: Type.Optional(
      Type.Array(
        Type.Object({
          id: Type.String(),
          name: Type.String(),
          digest: Type.String(),
          scopes: Type.Array(Type.String()),
          createdBy: Type.String(),
          createdAt: Type.String(),
          expiresAt: Type.Union([Type.String(), Type.Null()]),
          version: Type.Integer(),
        }),
      ),
    ),
  }),
)

/** The tokens as the catalog has them; until it has answered, as the copy has them. */
export function tokenSource({ view }: Pick<RouterPort, 'view'>, copy: LoadedCopy | null): () => KnownTokens {
  const copied: KnownTokens = new Map(copy?.tokens.map((token) => [token.id, token]))
  return () => (view.isLoaded() ? view.current().tokens : copied)
}

/** Changes are written this long after the first of them. */
const saveAfterMs = 500

/** The file with the copy. */
export class MapFile implements AsyncDisposable {
  readonly #path: string
  readonly #log: Logger
  readonly #clock: Clock
  readonly #read: () => MapCopy
  #stop: (() => void) | null = null
  #unfollow: () => void = () => undefined
  #writing: Promise<void> = Promise.resolve()

  /** @param read what to save, asked for at the moment of saving */
  constructor(parts: { path: string; log: Logger; clock: Clock; read: () => MapCopy }) {
    this.#path = parts.path
    this.#log = parts.log
    this.#clock = parts.clock
    this.#read = parts.read
  }

  /** Something changed: the copy is written soon. */
  changed(): void {
    this.#stop ??= this.#clock.after(saveAfterMs, () => {
      this.#stop = null
      void this.#save()
    })
  }

  /** Tokens that are made and revoked are in the copy soon. */
  followTokens({ view }: Pick<RouterPort, 'view'>): void {
    let { tokens } = view.current()
    this.#unfollow = view.subscribe(({ state }) => {
      if (state.tokens === tokens) return
      ;({ tokens } = state)
      this.changed()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unfollow()
    if (this.#stop !== null) {
      this.#stop()
      this.#stop = null
      await this.#save()
    }
    await this.#writing
  }

  /** A failure costs the copy only, so it is logged and not thrown. */
  #save(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      try {
        await writeCopy(this.#path, this.#read())
      } catch (error) {
        this.#log.warn({ path: this.#path, err: error }, 'the copy of the shard map cannot be written')
      }
    })
    return this.#writing
  }
}

async function writeCopy(path: string, copy: MapCopy): Promise<void> {
  const lines = [
    JSON.stringify({ version: 1, cluster: copy.cluster, secrets: copy.secrets, tokens: copy.tokens }),
    ...copy.keyspaces.map(encodeSnapshot),
  ]
  const temporary = `${path}.new`
  const file = await open(temporary, 'w', 0o600)
  try {
    await chmod(temporary, 0o600)
    await file.writeFile(`${lines.join('\n')}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
}

/** Reads the copy; null when there is none. @throws FleetError `corrupt_record` */
export async function loadMapCopy(path: string): Promise<LoadedCopy | null> {
  let text: string
  let savedAtMs: number
  try {
    text = await readFile(path, 'utf8')
    savedAtMs = (await stat(path)).mtimeMs
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  const [first = '', ...rest] = text.split('\n').filter((line) => line !== '')
  const parsed = parseHead(path, first)
  return {
    savedAtMs,
    cluster: parsed.cluster,
    secrets: parsed.secrets,
    tokens: parsed.tokens,
    keyspaces: rest.map((line) => parseSnapshot(path, line)),
  }
}

function parseHead(path: string, line: string): Omit<MapCopy, 'keyspaces'> {
  let value: unknown = null
  try {
    value = JSON.parse(line)
  } catch {
    // The parser's message would quote a line that holds passwords.
  }
  if (head.Check(value)) return { ...value, tokens: value.tokens ?? [] }
  throw new FleetError(
    'corrupt_record',
    `the copy of the shard map at ${path} does not have the form of this version`,
    {
      hint: 'delete the file; it is written again as soon as the catalog answers',
    },
  )
}
