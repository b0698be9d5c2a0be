// The plan cache's lower half: analyses by statement text, or by the key that the lexer makes of it, bounded by bytes,
// where what was not asked for lately goes first.
import { FleetError } from '@fleetshard/core'
import type { Analysis, StatementFacts } from './facts.ts'
import { noTarget, type RouteTarget } from './hint.ts'
import { hintOf } from './lexer/lex.ts'
import type { LexedStatement } from './lexer/lexed.ts'

/** What a statement has shown about its cost, learned while it runs. */
export interface StatementCost {
  /** Mean time on the server, milliseconds; null before the first run. */
  meanMs: number | null
  /** True once a result was too large to let others wait behind it. */
  large: boolean
  /** Runs on a connection of its own since it was last tried in a lane. */
  alone: number
}

/** One known statement, or all that differ only in the literals that were taken out of their key. */
export interface KnownStatement {
  /** The text that was analysed; of a lexed statement that of the first one, so never the text to send. */
  readonly text: string
  /** Where its comments send it. Comments are no part of the key of a lexed statement, which has its own. */
  readonly hint: RouteTarget
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

  /** The statement of that text, or of that lexed key, if it is known; no work is done. */
  get(key: string): KnownStatement | null {
    const entry = this.#known.get(key)
    if (entry === undefined) return null
    this.hits += 1
    entry.used = true
    return entry.known
  }

  /**
   * Analyses a text that `get` did not know. The same text is analysed once, however many ask.
   * @throws FleetError `sql_syntax`, `several_statements`, `invalid_request`, and what the parser throws
   */
  load(text: string): Promise<KnownStatement> {
    return this.#load(text, { text, hint: () => hintOf(text) })
  }

  /** Analyses a statement whose key `get` did not know. @throws as `load` */
  loadLexed({ key, grammarText }: LexedStatement): Promise<KnownStatement> {
    return this.#load(key, { text: grammarText, hint: () => noTarget })
  }

  async #load(
    key: string,
    { text, hint }: { text: string; hint: () => RouteTarget },
  ): Promise<KnownStatement> {
    const running = this.#running.get(key)
    if (running !== undefined) return running
    this.misses += 1
    const target = hint()
    const loading = this.#analyse(text).then((analysis) => {
      const facts = factsOrThrow(analysis)
      return this.#keep(key, { text, facts, hint: target, cost: { meanMs: null, large: false, alone: 0 } })
    })
    this.#running.set(key, loading)
    try {
      return await loading
    } finally {
      this.#running.delete(key)
    }
  }

  #keep(key: string, known: KnownStatement): KnownStatement {
    if (key.length > cachedTextBytesMax) return known
    const entry = { known, bytes: bytesOf(key, known), used: false }
    this.#known.set(key, entry)
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

function bytesOf(key: string, { text, facts }: KnownStatement): number {
  const texts = key === text ? key.length : key.length + text.length
  return entryBytes + texts * 2 + JSON.stringify(facts).length * bytesPerFactCharacter
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
        facts: { too_deep: true },
      })
  }
}
