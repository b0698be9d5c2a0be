// Writers that go on whatever happens and enter into the ledger what they are told: keepers write newer versions of
// their keys, appenders add rows, movers give rows another shard key, readers ask for what was acknowledged before.
import type { ShardMap } from '@fleetshard/core'
import type { Random } from '../../fuzz/random.ts'
import { ownerOf } from '../../e2e/harness/shard-map.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Channel, Statement } from './channels.ts'

/** The tables that are written, as they are declared. */
export const loadTables = {
  tables: [
    { name: 'ledger', kind: 'sharded', key_column: 'key' },
    { name: 'event', kind: 'sharded', key_column: 'key' },
    { name: 'roamer', kind: 'sharded', key_column: 'owner' },
  ],
  ddl: `CREATE TABLE ledger (key text PRIMARY KEY, version int NOT NULL, body text);
        CREATE INDEX ON ledger (version);
        CREATE TABLE event (id bigserial PRIMARY KEY, key text NOT NULL);
        CREATE TABLE roamer (owner text, id text, version int NOT NULL, PRIMARY KEY (owner, id));`,
} as const

/** What every writer works with. */
export interface Load {
  readonly ledger: Ledger
  readonly channel: Channel
  /** Begins its keys; no other writer uses it. */
  readonly name: string
  readonly random: Random
  /** Ends it, after the answer that it waits for. */
  readonly signal: AbortSignal
  /** Told of every answer that is no acknowledgement. */
  readonly onRefused: (reason: string) => void
  /** The map as it is about now. */
  readonly map: () => ShardMap
}

/** Pause between two statements of a writer, so that a small machine has time for the faults too. */
const paceMs = 4
/** After a refusal, as an application would. */
const backoffMs = 50
const keysPerKeeper = 200

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Writes a version and notes the answer. @returns whether its outcome is known */
async function note(load: Load, key: string, version: number, answering: ReturnType<Channel['execute']>) {
  const { outcome, reason } = await answering
  load.ledger.note(key, version, outcome)
  if (outcome !== 'acknowledged') {
    load.onRefused(reason)
    await pause(backoffMs)
  }
  return outcome
}

/** Newer and newer versions of the same keys. One whose outcome is unknown may land late, and must not win then. */
export async function keep(load: Load): Promise<void> {
  while (!load.signal.aborted) {
    const key = `${load.name}-${String(load.random.below(keysPerKeeper))}`
    const version = load.ledger.next(key)
    const text = `INSERT INTO ledger (key, version, body) VALUES ($1, $2, $3)
      ON CONFLICT (key) DO UPDATE SET version = excluded.version WHERE ledger.version < excluded.version`
    const body = 'x'.repeat(load.random.below(400))
    await note(load, key, version, load.channel.execute(key, { text, params: [key, version, body] }))
    await pause(paceMs)
  }
}

/** A row for each write, in a table that would take it twice. */
export async function append(load: Load): Promise<void> {
  for (let count = 0; !load.signal.aborted; count += 1) {
    const key = `${load.name}-${String(count)}`
    const version = load.ledger.next(key)
    const text = 'INSERT INTO event (key) VALUES ($1)'
    await note(load, key, version, load.channel.execute(key, { text, params: [key] }))
    await pause(paceMs)
  }
}

/** Rows that change their shard key, within the shard that they lie on now. */
export async function roam(load: Load): Promise<void> {
  const homes = new Map<string, string>()
  /** May be here or there, and what is under way may still land: nobody touches them any more. */
  const doubtful = new Set<string>()
  for (let count = 0; !load.signal.aborted; count += 1) {
    const number = load.random.below(keysPerKeeper)
    const generation = [...doubtful].filter((id) => id.startsWith(`${load.name}-${String(number)}-`)).length
    const id = `${load.name}-${String(number)}-${String(generation)}`
    const from = homes.get(id)
    const to = `${id}-${String(count)}`
    await pause(paceMs)
    if (from !== undefined && ownerOf(load.map(), from) !== ownerOf(load.map(), to)) continue
    const version = load.ledger.next(id)
    const moving = load.channel.transaction(to, moveOf(id, version, { from, to }))
    const outcome = await note(load, id, version, moving)
    if (outcome === 'acknowledged') homes.set(id, to)
    if (outcome === 'unknown') doubtful.add(id)
  }
}

function moveOf(
  id: string,
  version: number,
  { from, to }: { readonly from: string | undefined; readonly to: string },
): readonly Statement[] {
  const insert = {
    text: 'INSERT INTO roamer (owner, id, version) VALUES ($1, $2, $3)',
    params: [to, id, version],
  }
  return from === undefined
    ? [insert]
    : [
        // Fails where the row is not, which would else come back by itself.
        { text: 'SELECT 1 / count(*) FROM roamer WHERE owner = $1 AND id = $2', params: [from, id] },
        { text: 'DELETE FROM roamer WHERE owner = $1 AND id = $2', params: [from, id] },
        insert,
      ]
}

/** Strong reads of others' keys. @param onStale told of one that is older than what was acknowledged before it began */
export async function read(
  load: Load,
  keepers: readonly string[],
  onStale: (text: string) => void,
): Promise<void> {
  while (!load.signal.aborted) {
    const key = `${load.random.pick(keepers)}-${String(load.random.below(keysPerKeeper))}`
    const before = load.ledger.acknowledgedVersion(key)
    const statement = { text: 'SELECT version FROM ledger WHERE key = $1', params: [key] }
    const { outcome, reason, rows } = await load.channel.execute(key, statement)
    if (outcome !== 'acknowledged') {
      load.onRefused(reason)
      await pause(backoffMs)
    } else {
      const found = Number(rows[0]?.['version'] ?? 0)
      if (found < before) {
        onStale(
          `${load.channel.kind}: ${key} read at ${String(found)} after ${String(before)} was acknowledged`,
        )
      }
    }
    await pause(paceMs)
  }
}
