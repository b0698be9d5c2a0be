// A Query as a statement that a connection prepares once: Postgres reads and plans its text once, not with each new
// value. Lookups go so in lanes, where errors are never told, and the Query is sent again; plain writes where they have a
// connection of their own, and what their errors point to is sought in the Query.
import { writeDescribe, writeExecuteAndSync, writeUnnamedBind } from '@fleetshard/routing/pgwire'
import {
  lookupTextOf,
  positionInQuery,
  writeTextOf,
  type ComparedKind,
  type KnownStatement,
  type LexedStatement,
  type Literals,
} from '@fleetshard/routing/plan'
import type { ServerStatements } from '@fleetshard/routing/wire'
import { step, type AnswerStep } from './answer.ts'
import type { Group } from './server-side.ts'
import { movePosition } from './told-error.ts'
import type { InLane } from './work.ts'
import type { WireStatement, WireStatements } from './wire-statements.ts'

/** Uses of a statement before it is worth to be prepared. */
const usesBefore = 2
/** Errors in a row after which it is not tried any more. */
const failuresMax = 3
/** SQLSTATE of a prepared statement that does not exist. */
const lostStatement = '26000'
/** An integer literal of so many digits is an int4. */
const int4DigitsMax = 9

/** Types that Postgres gives to literals: int4, and none to strings, which become what they are compared with. */
const typeOids: Readonly<Record<ComparedKind, number>> = { integer: 23, string: 0 }

interface Made {
  readonly statement: WireStatement
  readonly count: number
  failures: number
}

/** How often a statement was used, and what was made of it then; null for one that is not prepared. */
const known = new WeakMap<KnownStatement, { uses: number; made: Made | null | undefined }>()

const stepsOf = {
  lookup: [step.hide, step.describeRows, step.execute],
  // None of its tables has a rule that gives rows.
  write: [step.hide, step.execute],
} as const satisfies Record<string, readonly AnswerStep[]>

/** Where it may be prepared. */
export interface PreparedOn {
  readonly statements: ServerStatements
  readonly texts: WireStatements
}

/** The Query for a lane; null where it goes as it is. */
export function lookupOf(statement: KnownStatement, lexed: LexedStatement, on: PreparedOn): InLane | null {
  const made = madeOf(statement, lexed, on)
  const values = made === null ? null : valuesOf(lexed.literals, made.count)
  if (made === null || values === null) return null
  return { group: groupOf('lookup', made.statement, values, on), prepared: preparedOf(made) }
}

/** Of a write: what errors point to, and what gets the statement when the connection is made to parse it. */
export interface WriteOn extends PreparedOn {
  readonly query: string
  readonly parsed: WireStatement[]
}

/** A write of a Query for a connection of its own; null where it goes as it is. */
export function writeOf(
  statement: KnownStatement,
  lexed: LexedStatement,
  { query, parsed, ...on }: WriteOn,
): Group | null {
  if (lexed.grammarText !== lexed.text) return null
  const made = madeOf(statement, lexed, on)
  const values = made === null ? null : valuesOf(lexed.literals, made.count)
  if (made === null || values === null) return null
  return {
    ...groupOf('write', made.statement, values, { ...on, parsed }),
    told(error, sqlstate) {
      // What is wrong with it as a text is not found out twice: it is sent as it is from now on.
      if (sqlstate.startsWith('42')) made.failures = failuresMax
      if (sqlstate === lostStatement) on.statements.forget(made.statement)
      const { text } = made.statement
      return movePosition(error, (position) => positionInQuery(text, position, { query, start: lexed.start }))
    },
  }
}

function madeOf(statement: KnownStatement, { key }: LexedStatement, { texts }: PreparedOn): Made | null {
  let entry = known.get(statement)
  if (entry === undefined) known.set(statement, (entry = { uses: 0, made: undefined }))
  entry.uses += 1
  if (entry.uses <= usesBefore) return null
  if (entry.made === undefined) entry.made = make(statement, key, texts)
  const { made } = entry
  return made === null || made.failures >= failuresMax ? null : made
}

function make(statement: KnownStatement, key: string, texts: WireStatements): Made | null {
  const found = lookupTextOf(statement, key) ?? writeTextOf(statement, key)
  if (found === null) return null
  const types = found.kinds.map((kind) => typeOids[kind])
  return { statement: texts.get(found.text, types), count: types.length, failures: 0 }
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
  kind: keyof typeof stepsOf,
  statement: WireStatement,
  values: readonly string[],
  { statements, parsed: learned }: Pick<WriteOn, 'statements'> & Partial<Pick<WriteOn, 'parsed'>>,
): Group {
  const steps: readonly AnswerStep[] = stepsOf[kind]
  return {
    wantsTags: false,
    encode(out) {
      const { name, parsed, closes } = statements.use(out, statement, { keep: true, isOld: false })
      writeUnnamedBind(out, name, values, 0)
      if (kind === 'lookup') writeDescribe(out, 'P', '')
      writeExecuteAndSync(out)
      if (!parsed) return steps
      learned?.push(statement)
      return [...Array.from({ length: closes + 1 }, () => step.hide), ...steps]
    },
  }
}

const preparedOf = (made: Made): InLane['prepared'] => ({
  statement: made.statement,
  ended(sqlstate) {
    if (sqlstate === '') made.failures = 0
    else made.failures += 1
  },
})
