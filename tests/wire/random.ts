// Random sequences of protocol messages, made from a seed: statements and portals by few names, so that they meet; all
// kinds of commands; groups that end with Sync or are asked for with Flush, in pipelines or one by one.
import { bind, close, describe, execute, flush, parse, query, sync } from './script.ts'

/** What is sent in one go. */
export interface RandomStep {
  readonly bytes: Buffer
  /** In words, for a failure. */
  readonly words: readonly string[]
  /** ReadyForQuery that must come. */
  readonly ready: number
  /** Messages of the extended protocol behind the last Sync, which a Flush wants answered; 0 where none is open. */
  readonly open: number
}

/** Numbers from 0 to below 1, the same for the same seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Texts for Parse and Query, by how many parameters they have. */
const texts: readonly (readonly [string, number])[] = [
  ['SELECT id, name FROM wire_items ORDER BY id', 0],
  ['SELECT id, name FROM wire_items WHERE id = $1', 1],
  ['SELECT generate_series(1, 4) AS n', 0],
  ['SELECT $1::int + $2::int AS sum', 2],
  ['INSERT INTO wire_children VALUES (10, 2) ON CONFLICT DO NOTHING RETURNING id', 0],
  ["UPDATE wire_items SET name = name || '!' WHERE id = $1::int", 1],
  ['DELETE FROM wire_children', 0],
  ['SELECT id FROM wire_items ORDER BY id FOR UPDATE', 0],
  ['SELECT 1/0', 0],
  ['SELECT 1 / $1::int', 1],
  ['SELECT nothing FROM wire_items', 0],
  ['SELEKT', 0],
  ['', 0],
  ['BEGIN', 0],
  ['BEGIN', 0],
  ['COMMIT', 0],
  ['ROLLBACK', 0],
  ["SET work_mem = '5MB'", 0],
  ['SHOW work_mem', 0],
  ["SET LOCAL work_mem = '6MB'", 0],
  ['RESET work_mem', 0],
  ['PREPARE a AS SELECT 21 AS prepared', 0],
  ['PREPARE b (int) AS SELECT id FROM wire_items WHERE id < $1 ORDER BY id', 0],
  ['EXECUTE a', 0],
  ['EXECUTE b (3)', 0],
  ['EXPLAIN (COSTS OFF) EXECUTE a', 0],
  ['DEALLOCATE a', 0],
  ['DEALLOCATE b', 0],
  ['DEALLOCATE ALL', 0],
  ['DECLARE p CURSOR FOR SELECT id FROM wire_items ORDER BY id', 0],
  ['DECLARE q CURSOR WITH HOLD FOR SELECT id FROM wire_items ORDER BY id', 0],
  ['FETCH 2 FROM p', 0],
  ['FETCH 1 FROM q', 0],
  ['MOVE 1 IN p', 0],
  ['CLOSE p', 0],
  ['CLOSE ALL', 0],
  ['DISCARD ALL', 0],
  ["SELECT wire_notice('random')", 0],
  ['COPY (SELECT id FROM wire_items ORDER BY id) TO STDOUT', 0],
  ['CREATE TEMP TABLE IF NOT EXISTS wire_random (n int)', 0],
  ['SELECT count(*) FROM wire_random', 0],
  ['LISTEN wire_channel', 0],
  ["NOTIFY wire_channel, 'x'", 0],
  ['UNLISTEN *', 0],
  ['SET TRANSACTION READ ONLY', 0],
]

/** In a pipeline without BEGIN some versions of Postgres end the session at one of these. */
const queryTexts = [
  ...texts.flatMap(([text, params]) => (params === 0 ? [text] : [])),
  'SAVEPOINT s',
  'RELEASE s',
  'ROLLBACK TO s',
]

/** Not under names: a statement that executes itself has no end; one whose table is gone can't be prepared again. */
const aboutNames = /EXECUTE|PREPARE|DEALLOCATE|DISCARD|wire_random/

const names = ['', '', 'a', 'b'] as const
const portals = ['', '', 'p', 'q'] as const

/** A client that sends at random; `step` gives what it sends next. */
export class RandomClient {
  readonly #random: () => number
  /**
   * One that sends queries uses portals without a name only in the group that makes them: Postgres 18 itself may fall
   * over one that is left by a Query in a failed transaction.
   */
  readonly #sendsQueries: boolean
  #hasUnnamed = false
  /** Parameters that the statement of a name has, as far as it may be known. */
  readonly #params = new Map<string, number>()
  #open = 0

  constructor(seed: number) {
    this.#random = randomFrom(seed)
    this.#sendsQueries = seed % 3 !== 0
  }

  /** Up to three groups or queries; the last group may be left open. */
  step(): RandomStep {
    const bytes: Buffer[] = []
    const words: string[] = []
    let ready = 0
    const say = (word: string, message: Buffer): void => {
      words.push(word)
      bytes.push(message)
    }
    const parts = this.#chance(0.7) ? 1 : this.#below(3) + 1
    for (let part = 0; part < parts; part += 1) {
      if (this.#sendsQueries && this.#open === 0 && this.#chance(0.35)) {
        const text = this.#queryText()
        say(`Query ${text}`, query(text))
        ready += 1
        continue
      }
      this.#group(say)
      if (part === parts - 1 && this.#chance(0.25)) {
        say('Flush', flush)
        return { bytes: Buffer.concat(bytes), words, ready, open: this.#open }
      }
      say('Sync', sync)
      this.#open = 0
      this.#hasUnnamed = false
      ready += 1
    }
    return { bytes: Buffer.concat(bytes), words, ready, open: 0 }
  }

  /** What ends it all: nothing is open behind it. */
  end(): RandomStep {
    this.#open = 0
    return { bytes: sync, words: ['Sync'], ready: 1, open: 0 }
  }

  #queryText(): string {
    const count = this.#chance(0.8) ? 1 : this.#below(3) + 2
    const text = Array.from({ length: count }, () => this.#pick(queryTexts)).join('; ')
    // What is prepared by the protocol cannot be found by name in the query that ends a failed transaction.
    return /COMMIT|ROLLBACK/.test(text) && aboutNames.test(text) ? this.#queryText() : text
  }

  #group(say: (word: string, message: Buffer) => void): void {
    const tell = (word: string, message: Buffer): void => {
      this.#open += 1
      say(word, message)
    }
    if (this.#chance(0.5)) {
      const [name, portal] = this.#chance(0.7)
        ? (['', ''] as const)
        : ([this.#pick(names), this.#pick(portals)] as const)
      this.#parse(tell, name)
      this.#bind(tell, name, portal)
      if (this.#chance(0.5)) tell(`Describe portal ${portal}`, describe('P', portal))
      this.#execute(tell, portal)
      if (this.#chance(0.5)) return
    }
    for (let count = this.#below(5); count >= 0; count -= 1) this.#any(tell)
  }

  #any(tell: (word: string, message: Buffer) => void): void {
    const name = this.#pick(names)
    const portal = this.#pick(portals)
    switch (this.#below(9)) {
      case 0:
      case 1:
        this.#parse(tell, name)
        return
      case 2:
      case 3:
        this.#bind(tell, name, portal)
        return
      case 4:
      case 5:
        this.#execute(tell, portal)
        return
      case 6:
        // In a transaction that has failed servers tell of statements that have no rows.
        if (this.#chance(0.5)) {
          this.#parse(tell, name)
          tell(`Describe statement ${name}`, describe('S', name))
        } else tell(`Describe portal ${portal}`, describe('P', portal))
        return
      case 7:
        if (this.#chance(0.5)) tell(`Close statement ${name}`, close('S', name))
        else tell(`Close portal ${portal}`, close('P', portal))
        return
      default:
        this.#execute(tell, portal)
    }
  }

  #parse(tell: (word: string, message: Buffer) => void, name: string): void {
    const [text, params] = this.#pick(name === '' ? texts : texts.filter(([each]) => !aboutNames.test(each)))
    this.#params.set(name, params)
    tell(`Parse ${name}: ${text}`, parse(name, text))
  }

  #bind(tell: (word: string, message: Buffer) => void, name: string, portal: string): void {
    const count = this.#chance(0.95) ? (this.#params.get(name) ?? 0) : this.#below(3)
    if (portal === '') this.#hasUnnamed = true
    const params = Array.from({ length: count }, () => String(this.#below(4)))
    tell(`Bind ${portal} of ${name} (${params.join()})`, bind({ portal, statement: name, params }))
  }

  #execute(tell: (word: string, message: Buffer) => void, portal: string): void {
    if (portal === '' && this.#sendsQueries && !this.#hasUnnamed) return
    const rows = this.#chance(0.6) ? 0 : this.#below(3) + 1
    tell(`Execute ${portal} ${String(rows)}`, execute(portal, rows))
  }

  #chance(probability: number): boolean {
    return this.#random() < probability
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#below(list.length)] as T
  }
}
