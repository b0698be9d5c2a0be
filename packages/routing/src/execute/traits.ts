// What a statement does by the names of a database: asked at every run, so kept with the statement.
import type { KnownStatement } from '../plan/mod.ts'
import { remembers } from './recall.ts'
import { leftBy, mayShareLane, mayWrite, type SchemaFacts } from './schema-facts.ts'

/** What a statement may leave in its session. */
export type Left = ReturnType<typeof leftBy>

/** What a statement does by the names of a database. */
export interface Traits {
  /** It may share a lane. */
  readonly shares: boolean
  /** It may not be sent again when its outcome is unknown. */
  readonly writes: boolean
  readonly leaves: Left
  /** A sequence may count by it. */
  readonly counts: boolean
}

/** Forgotten with the statement or the names. */
const traits = new WeakMap<SchemaFacts, WeakMap<KnownStatement, Traits>>()

/** What the statement does; worked out at first sight. */
export function traitsOf(known: KnownStatement, facts: SchemaFacts): Traits {
  let ofFacts = traits.get(facts)
  if (ofFacts === undefined) traits.set(facts, (ofFacts = new WeakMap()))
  let kept = ofFacts.get(known)
  if (kept === undefined) {
    kept = {
      shares: mayShareLane(known.facts, facts),
      writes: mayWrite(known.facts, facts),
      leaves: leftBy(known.facts, facts),
      counts: remembers(known.facts, facts),
    }
    ofFacts.set(known, kept)
  }
  return kept
}

const badness: Readonly<Record<Left, number>> = { nothing: 0, state: 1, more: 2 }

/** What two statements of one session leave together. */
export const worseLeft = (one: Left, other: Left): Left => (badness[one] >= badness[other] ? one : other)
