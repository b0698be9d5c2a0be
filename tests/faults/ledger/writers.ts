// Writers over the router's HTTP interface, each with keys of its own, that put into the ledger what they are told.
import type { Answer } from '../../e2e/harness/http.ts'
import type { FoundRow, Ledger } from './ledger.ts'

/** The table that is written; to be declared with `key` as its shard key. */
export const ledgerDdl = 'CREATE TABLE ledger (key text PRIMARY KEY, version int NOT NULL, body text)'

/** Sends one statement to a router. */
export type Execute = (body: {
  readonly shard_key: string
  readonly query: string
  readonly params?: readonly unknown[]
}) => Promise<Answer<{ readonly rows: readonly Readonly<Record<string, unknown>>[] }>>

/** What writers felt. */
export interface WriterTimes {
  /** Milliseconds of each acknowledged write. */
  readonly writesMs: readonly number[]
}

/** Codes after which a write may have happened. */
const unknownCodes = new Set(['outcome_unknown', 'internal'])

/** Writes until the signal aborts; resolves when every writer has its last answer. */
export async function writeLedger(
  ledger: Ledger,
  execute: Execute,
  options: {
    readonly writers: number
    readonly keysPerWriter: number
    readonly name: string
    readonly signal: AbortSignal
  },
): Promise<WriterTimes> {
  const writesMs: number[] = []
  const write = async (writer: number): Promise<void> => {
    for (let count = 0; !options.signal.aborted; count += 1) {
      const key = `${options.name}-${String(writer)}-${String(count % options.keysPerWriter)}`
      const version = ledger.next(key)
      const began = performance.now()
      const { status, body } = await execute({
        shard_key: key,
        query:
          'INSERT INTO ledger (key, version) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET version = excluded.version',
        params: [key, version],
      })
      if (status === 200) writesMs.push(performance.now() - began)
      if (status === 200) ledger.note(key, version, 'acknowledged')
      else if (unknownCodes.has(body.code)) ledger.note(key, version, 'unknown')
      else if (body.retryable) ledger.note(key, version, 'refused')
      else throw new Error(`a write failed: ${JSON.stringify(body)}`)
    }
  }
  await Promise.all(Array.from({ length: options.writers }, (_, writer) => write(writer)))
  return { writesMs }
}

/** All rows of the shards that own ranges. @param keys a key that lies on each of them, by shard */
export async function readLedger(
  execute: Execute,
  keys: ReadonlyMap<string, string>,
): Promise<readonly FoundRow[]> {
  const rows: FoundRow[] = []
  for (const [shard, key] of keys) {
    const { status, body } = await execute({ shard_key: key, query: 'SELECT key, version FROM ledger' })
    if (status !== 200) throw new Error(`shard ${shard} cannot be read: ${JSON.stringify(body)}`)
    rows.push(
      ...body.rows.map((row) => ({ key: String(row['key']), version: Number(row['version']), shard })),
    )
  }
  return rows
}
