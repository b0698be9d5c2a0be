// What writers were told, and the account that is made of it at the end: every acknowledged write must be there, once,
// where the map says, at its last acknowledged version or at a later one whose outcome is unknown.

/** A write that a writer tried: a version of a key, or its removal. */
interface Entry {
  /** Last version that was acknowledged; 0 for none. */
  acknowledged: number
  /** Last version that was tried. */
  tried: number
  /** The last one that certainly did not happen; 0 for none. */
  refused: number
  /** `performance.now()` when the last one was sent. */
  sentMs: number
}

/** How long writers waited. */
export interface WaitTimes {
  /** The longest that one write waited for its answer, whatever it was. */
  readonly heldMsMax: number
  /** The longest time in which no write was acknowledged to anybody. */
  readonly silenceMsMax: number
}

/** A row as it was found at the end. */
export interface FoundRow {
  readonly key: string
  readonly version: number
  /** Where it lies. */
  readonly shard: string
  /** What decides where it has to lie, when that is not `key`. */
  readonly shardKey?: string
}

/** The account. All lists hold keys; `holds` is true when all are empty. */
export interface Account {
  readonly acknowledged: number
  readonly unknown: number
  readonly refused: number
  readonly lost: readonly string[]
  readonly duplicated: readonly string[]
  readonly misplaced: readonly string[]
  /** Older than what was acknowledged, or newer than anything that was tried. */
  readonly stale: readonly string[]
  /** There although their writer was told that they are not. */
  readonly denied: readonly string[]
  readonly holds: boolean
}

/** How a write was answered. `refused`: it certainly did not happen. */
export type Outcome = 'acknowledged' | 'unknown' | 'refused'

/** Written to by any number of writers; each key has one writer, whose versions only go up. */
export class Ledger {
  readonly #entries = new Map<string, Entry>()
  readonly #counts = { acknowledged: 0, unknown: 0, refused: 0 }
  #heldMsMax = 0
  #silenceMsMax = 0
  /** Of the last acknowledgement, or when waiting began to be measured; null before. */
  #heardMs: number | null = null

  /** The version to be written next; to be called before the write is sent. */
  next(key: string): number {
    let entry = this.#entries.get(key)
    if (entry === undefined)
      this.#entries.set(key, (entry = { acknowledged: 0, tried: 0, refused: 0, sentMs: 0 }))
    entry.tried += 1
    entry.sentMs = performance.now()
    return entry.tried
  }

  /** What came of it. */
  note(key: string, version: number, outcome: Outcome): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) throw new Error(`nothing was written to ${key}`)
    this.#counts[outcome] += 1
    if (this.#heardMs !== null) {
      this.#heldMsMax = Math.max(this.#heldMsMax, performance.now() - entry.sentMs)
      if (outcome === 'acknowledged') this.#heard()
    }
    if (outcome === 'acknowledged') entry.acknowledged = Math.max(entry.acknowledged, version)
    if (outcome === 'refused') entry.refused = Math.max(entry.refused, version)
  }

  /** From now on it is measured how long writers wait. */
  measure(): void {
    this.#heardMs = performance.now()
  }

  /** How long they waited until now. Ends the measuring. */
  waits(): WaitTimes {
    this.#heard()
    this.#heardMs = null
    return { heldMsMax: this.#heldMsMax, silenceMsMax: this.#silenceMsMax }
  }

  #heard(): void {
    if (this.#heardMs === null) return
    const nowMs = performance.now()
    this.#silenceMsMax = Math.max(this.#silenceMsMax, nowMs - this.#heardMs)
    this.#heardMs = nowMs
  }

  /** The last version of a key that was acknowledged; 0 for none. */
  acknowledgedVersion(key: string): number {
    return this.#entries.get(key)?.acknowledged ?? 0
  }

  /** Writes that were acknowledged so far. */
  get acknowledged(): number {
    return this.#counts.acknowledged
  }

  /** The account of all rows of all shards. @param ownerOf the shard that owns a key by the map at the end */
  account(rows: readonly FoundRow[], ownerOf: (key: string) => string): Account {
    const found = new Map<string, FoundRow[]>()
    for (const row of rows) found.set(row.key, [...(found.get(row.key) ?? []), row])
    const lost: string[] = []
    const duplicated: string[] = []
    const stale: string[] = []
    const denied: string[] = []
    for (const [key, entry] of this.#entries) {
      const own = found.get(key) ?? []
      const [row] = own
      if (row === undefined && entry.acknowledged > 0) lost.push(key)
      if (own.length > 1) duplicated.push(key)
      if (own.some(({ version }) => version < entry.acknowledged || version > entry.tried)) stale.push(key)
      if (own.some(({ version }) => version === entry.refused)) denied.push(key)
    }
    const misplaced = rows
      .filter(({ key, shardKey = key, shard }) => ownerOf(shardKey) !== shard)
      .map(({ key }) => key)
    const wrong = [lost, duplicated, misplaced, stale, denied].some((list) => list.length > 0)
    return { ...this.#counts, lost, duplicated, misplaced, stale, denied, holds: !wrong }
  }
}
