// A Query that only looks rows up, as a statement that a lane prepares once: Postgres reads and plans its text once, not
// with each new value. Errors are never told from here, since they point into another text: the Query is sent again.
import { writeDescribe, writeExecuteAndSync, writeUnnamedBind } from '@fleetshard/routing/pgwire'
import {
  lookupTextOf,
  type ComparedKind,
  type KnownStatement,
  type LexedStatement,
  type Literals,
} from '@fleetshard/routing/plan'
import type { ServerStatements } from '@fleetshard/routing/wire'
import { step, type AnswerStep } from './answer.ts'
import type { InLane } from './work.ts'
import type { WireStatement, WireStatements } from './wire-statements.ts'

/** Uses of a statement before it is worth to be prepared. */
const usesBefore = 2
/** Errors in a row after which it is not tried any more. */
const failuresMax = 3
/** An integer literal of so many digits is an int4. */
const int4DigitsMax = 9

/** Types that Postgres gives to literals: int4, and none to strings, which become what they are compared with. */
const typeOids: Readonly<Record<ComparedKind, number>> = { integer: 23, string: 0 }

interface Lookup {
  readonly statement: WireStatement
  readonly count: number
  failures: number
}

/** How often a statement was used, and what was made of it then; null for one that is no lookup. */
const lookups = new WeakMap<KnownStatement, { uses: number; made: Lookup | null | undefined }>()

const known: readonly AnswerStep[] = [step.hide, step.describeRows, step.execute]

/** The Query for a lane; null where it goes as it is. */
export function lookupOf(
  statement: KnownStatement,
  { key, literals }: LexedStatement,
  { statements, texts }: { readonly statements: ServerStatements; readonly texts: WireStatements },
): InLane | null {
  let entry = lookups.get(statement)
  if (entry === undefined) lookups.set(statement, (entry = { uses: 0, made: undefined }))
  entry.uses += 1
  if (entry.uses <= usesBefore) return null
  if (entry.made === undefined) entry.made = make(statement, key, texts)
  const lookup = entry.made
  if (lookup === null || lookup.failures >= failuresMax) return null
  const values = valuesOf(literals, lookup.count)
  if (values === null) return null
  return { group: groupOf(lookup.statement, values, statements), prepared: preparedOf(lookup) }
}

function make(statement: KnownStatement, key: string, texts: WireStatements): Lookup | null {
  const lookup = lookupTextOf(statement, key)
  if (lookup === null) return null
  const types = lookup.kinds.map((kind) => typeOids[kind])
  return { statement: texts.get(lookup.text, types), count: types.length, failures: 0 }
}

/** Null when one of them has another type than most of its kind. */
function valuesOf(literals: Literals, count: number): readonly string[] | null {
  if (literals.count !== count) return null
  const values: string[] = []
  for (let index = 0; index < count; index += 1) {
    const value = literals.text(index)
    if (literals.kind(index) === 'integer' && !isInt4(value)) return null
    values.push(value)
  }
  return values
}

/** Only digits: servers differ in what else they read as a number. */
const isInt4 = (text: string): boolean => text.length <= int4DigitsMax && /^\d+$/.test(text)

function groupOf(
  statement: WireStatement,
  values: readonly string[],
  statements: ServerStatements,
): InLane['group'] {
  return {
    wantsTags: false,
    encode(out) {
      const { name, parsed, closes } = statements.use(out, statement, { keep: true, isOld: false })
      writeUnnamedBind(out, name, values, 0)
      writeDescribe(out, 'P', '')
      writeExecuteAndSync(out)
      if (!parsed) return known
      return [...Array.from({ length: closes + 1 }, () => step.hide), ...known]
    },
  }
}

const preparedOf = (lookup: Lookup): InLane['prepared'] => ({
  statement: lookup.statement,
  ended(sqlstate) {
    if (sqlstate === '') lookup.failures = 0
    else lookup.failures += 1
  },
})
