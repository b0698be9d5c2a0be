// What a client has written, as a token: so that its reads see it wherever they run. Both modes keep it the same way.
import {
  emptySessionToken,
  formatSessionToken,
  mergeSessionTokens,
  parseSessionToken,
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

/** The session of one client. */
export class ClientSession {
  #token: SessionToken = emptySessionToken

  /** The token as text; null while nothing was written. */
  get text(): string | null {
    const text = formatSessionToken(this.#token)
    return text === '' ? null : text
  }

  /** Replaces it by a token of this or another client. @throws FleetError `invalid_request` */
  set(text: string | null): void {
    this.#token = parseSessionToken(text ?? '')
  }

  /** Takes in what an answer tells. */
  merge(told: SessionToken | string | null): void {
    if (told === null) return
    const token = typeof told === 'string' ? parseSessionToken(told) : told
    if (token.positions.size > 0 || token.hasMore) this.#token = mergeSessionTokens(this.#token, token)
  }

  /** What begins a transaction, and follows a write. */
  get current(): SessionToken {
    return this.#token
  }

  /**
   * The token that goes with a statement; null for none. Reads of replicas bring one only when they are told to:
   * otherwise they would wait for what they need not see.
   */
  tokenFor(text: string, consistency: Consistency): SessionToken | null {
    if (typeof consistency === 'object' && 'session' in consistency) {
      return parseSessionToken(consistency.session ?? '')
    }
    return consistency !== 'strong' && looksLikeRead(text) ? null : this.#token
  }
}
