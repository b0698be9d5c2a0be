// The plan cache's lower half: analyses by statement text, bounded by bytes, where what was
// not asked for lately goes first.
import { FleetError } from '@fleetshard/core'
import type { Analysis, StatementFacts } from './facts.ts'

/** What a statement has shown about its cost, learned while it runs. */
export interface StatementCost {
  /** Mean time on the server, milliseconds; null before the first run. */
  meanMs: number | null
  /** True once a result was too large to let others wait behind it. */
  large: boolean
  /** Runs on a connection of its own since it was last tried in a lane. */
  alone: number
}

/** One known statement. */
export interface KnownStatement {
  readonly text: string
  readonly facts: StatementFacts
  readonly cost: StatementCost
}

/** Rough bytes of an entry beside its text and its facts. */
const entryBytes = 1_000
/** Rough bytes in memory for each character that the facts have as JSON: a long list of keys is many objects. */
const bytesPerFactCharacter = 2

/** Texts longer than this are analysed each time: they are rarely sent twice. */
const cachedTextBytesMax = 64 * 1024

interface Entry {
  readonly known: KnownStatement
  readonly bytes: number
  /** Asked for since the eviction last came by. */
  used: boolean
}

/** Statement texts with what is known of them. */
export class StatementCache {
  readonly #analyse: (text: string) => Promise<Analysis>
  readonly #bytesMax: number
  readonly #known = new Map<string, Entry>()
  readonly #running = new Map<string, Promise<KnownStatement>>()
  #bytes = 0
  hits = 0
  misses = 0

  constructor(parts: { analyse: (text: string) => Promise<Analysis>; bytesMax: number }) {
    this.#analyse = parts.analyse
    this.#bytesMax = parts.bytesMax
  }

  get size(): number {
    return this.#known.size
  }

  /** The statement if it is known; no work is done. */
  get(text: string): KnownStatement | null {
    const entry = this.#known.get(text)
    if (entry === undefined) return null
    this.hits += 1
    entry.used = true
    return entry.known
  }

  /**
   * Analyses a text that `get` did not know. The same text is analysed once, however many ask.
   * @throws FleetError `sql_syntax`, `several_statements`, `invalid_request`, and what the parser throws
   */
  async load(text: string): Promise<KnownStatement> {
    const running = this.#running.get(text)
    if (running !== undefined) return running
    this.misses += 1
    const loading = this.#analyse(text).then((analysis) => this.#keep(text, factsOrThrow(analysis)))
    this.#running.set(text, loading)
    try {
      return await loading
    } finally {
      this.#running.delete(text)
    }
  }

  #keep(text: string, facts: StatementFacts): KnownStatement {
    const known: KnownStatement = { text, facts, cost: { meanMs: null, large: false, alone: 0 } }
    if (text.length > cachedTextBytesMax) return known
    const entry = { known, bytes: bytesOf(known), used: false }
    this.#known.set(text, entry)
    this.#bytes += entry.bytes
    this.#evict()
    return known
  }

  /** Second chance: an entry used since the last pass goes to the back of the line instead of out. */
  #evict(): void {
    for (const [text, entry] of this.#known) {
      if (this.#bytes <= this.#bytesMax) return
      this.#known.delete(text)
      if (entry.used) {
        entry.used = false
        this.#known.set(text, entry)
      } else {
        this.#bytes -= entry.bytes
      }
    }
  }
}

function bytesOf({ text, facts }: KnownStatement): number {
  return entryBytes + text.length * 2 + JSON.stringify(facts).length * bytesPerFactCharacter
}

function factsOrThrow(analysis: Analysis): StatementFacts {
  switch (analysis.kind) {
    case 'statement':
      return analysis.facts
    case 'syntax':
      throw new FleetError('sql_syntax', analysis.message, { facts: { position: analysis.position } })
    case 'several':
      throw new FleetError('several_statements', `the query holds ${String(analysis.count)} statements`, {
        hint: 'send them one by one, or together to POST /v1/transaction',
      })
    case 'empty':
      throw new FleetError('invalid_request', 'the query holds no statement', {
        hint: 'send one SQL statement',
      })
    case 'too-complex':
      throw new FleetError('invalid_request', 'the statement is nested too deeply', {
        hint: 'split it, or replace long chains of OR by = ANY($1)',
      })
  }
}
