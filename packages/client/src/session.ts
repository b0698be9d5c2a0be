// What a client has written, as a token: so that its reads see it wherever they run. Both modes keep it the same way.
import {
  emptySessionToken,
  formatSessionToken,
  mergeSessionTokens,
  parseSessionToken,
  unknownPosition,
  type SessionPosition,
  type SessionToken,
} from '@fleetshard/core'
import type { Consistency } from './statement.ts'

/** Statements that begin so read, unless a function in them writes. */
const READS = /^(?:\s|--[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)*(?:select|with|table|values|show|explain)\b/i

/**
 * True when the statement may go out again under `read_only` though an earlier sending may have run: Postgres then
 * lets the repetition change nothing.
 */
export const looksLikeRead = (text: string): boolean => READS.test(text)

/** A moment in the life of a session; later ones are higher. */
export type SessionMoment = number

/**
 * The session of one client. Where a write lies is only asked once somebody has looked at the token: of writes before,
 * the session knows the shard alone, and the token sends their reads to the primary until that shard is written again.
 */
export class ClientSession {
  #token: SessionToken = emptySessionToken
  /** Shards with writes whose position is not in the token, and when the last of them was told. */
  readonly #unplaced = new Map<string, SessionMoment>()
  #moment: SessionMoment = 0
  #isUsed = false

  /** The token as text; null while nothing was written. From the first look on positions are asked. */
  get text(): string | null {
    this.#isUsed = true
    const text = formatSessionToken(this.current)
    return text === '' ? null : text
  }

  /** Replaces it by a token of this or another client. @throws FleetError `invalid_request` */
  set(text: string | null): void {
    const token = parseSessionToken(text ?? '')
    this.#isUsed = true
    this.#token = emptySessionToken
    this.#unplaced.clear()
    this.merge(token)
  }

  /** True once somebody has looked at the token, or brought one. */
  get isUsed(): boolean {
    return this.#isUsed
  }

  /** To be remembered when a statement is sent, for `merge`. */
  get moment(): SessionMoment {
    return this.#moment
  }

  /**
   * Takes in what an answer tells.
   * @param sentAt when its statement was sent: the position of a write covers those that were told before
   */
  merge(told: SessionToken | string | null, sentAt: SessionMoment = 0): void {
    if (told === null) return
    const token = typeof told === 'string' ? parseSessionToken(told) : told
    if (token.positions.size === 0 && !token.hasMore) return
    const placed = new Map<string, SessionPosition>()
    for (const [shard, position] of token.positions) {
      if (position.lsn === unknownPosition.lsn) this.#unplaced.set(shard, (this.#moment += 1))
      else {
        placed.set(shard, position)
        if ((this.#unplaced.get(shard) ?? Infinity) <= sentAt) this.#unplaced.delete(shard)
      }
    }
    if (placed.size > 0 || token.hasMore)
      this.#token = mergeSessionTokens(this.#token, { positions: placed, hasMore: token.hasMore })
  }

  /** All that is known. */
  get current(): SessionToken {
    if (this.#unplaced.size === 0) return this.#token
    const positions = new Map([...this.#unplaced.keys()].map((shard) => [shard, unknownPosition]))
    return mergeSessionTokens(this.#token, { positions, hasMore: false })
  }

  /**
   * The token that goes with a statement; null for none. Reads of replicas bring one only when they are told to:
   * otherwise they would wait for what they need not see. Others go to the primary, and ask for theirs alone.
   */
  tokenFor(text: string, consistency: Consistency): SessionToken | null {
    if (typeof consistency === 'object' && 'session' in consistency) {
      this.#isUsed = true
      return parseSessionToken(consistency.session ?? '')
    }
    return consistency !== 'strong' && looksLikeRead(text) ? null : emptySessionToken
  }
}
