// What a connection remembers of the sequences it has asked: currval() and lastval(). A client believes its connection
// to be one, but its statements run on many: another one remembers nothing, or the number that somebody else was given.
import { FleetError } from '@fleetshard/core'
import type { Command } from '../plan/command.ts'
import type { StatementFacts } from '../plan/facts.ts'
import type { KnownStatement } from '../plan/mod.ts'
import { exec } from '../wire/mod.ts'
import { leftBy, mayWrite, type SchemaFacts } from './schema-facts.ts'
import type { Session } from './session.ts'

const recalling = new Set(['currval', 'lastval'])
const counting = new Set(['nextval', 'setval'])

/** True for a statement that asks what its connection remembers. */
export const recalls = ({ functions }: StatementFacts): boolean =>
  functions.some((name) => recalling.has(name))

/** True for a statement that names a function by which a sequence counts. */
export const namesCounter = ({ functions }: StatementFacts): boolean =>
  functions.some((name) => counting.has(name))

/** Commands that surely run nothing by which a sequence counts. */
const still: ReadonlySet<string> = new Set<Command['kind']>([
  'begin',
  'commit',
  'rollback',
  'savepoint',
  'release',
  'rollback-to',
  'set',
  'reset',
  'set-transaction',
  'set-constraints',
  'show',
  'lock',
  'listen',
  'unlisten',
  'notify',
  'prepare',
  'deallocate',
  'discard',
  'close',
])

/** True for a statement that may make its connection remember a number, by a default as well. */
export const mayCount = (facts: StatementFacts): boolean =>
  namesCounter(facts) || (facts.kind !== 'read' && !still.has(facts.command.kind))

/** The same by what the database says: false for most writes, which ask no sequence. */
export function remembers(facts: StatementFacts, schema: SchemaFacts): boolean {
  if (namesCounter(facts)) return true
  if (facts.kind === 'read' ? !mayWrite(facts, schema) : !mayCount(facts)) return false
  if (facts.command.kind !== 'rows' || leftBy(facts, schema) !== 'nothing') return true
  return facts.tables.some(({ written, name }) => written && schema.countingTables.has(name))
}

const forgetSql = 'discard sequences'

/** Makes a connection forget what others have counted on it. Sent at once; what comes of it is not waited for. */
export function forgetNumbers(session: Session): void {
  session.remembers = false
  // It fails with its connection, as does whatever is sent behind it.
  exec(session.connection, forgetSql).catch(() => undefined)
}

/** For statements of one call, where one asks what its connection remembers. */
export function forgetOthers(
  session: Session,
  statements: readonly { readonly known: Pick<KnownStatement, 'facts'> }[],
): void {
  if (session.remembers && statements.some(({ known }) => recalls(known.facts))) forgetNumbers(session)
}

/**
 * Of statements that run on one connection in that order: what is asked must have been counted there before.
 * @throws FleetError `statement_refused`
 */
export function refuseForgotten(statements: readonly StatementFacts[], hasCounted: boolean): void {
  let counted = hasCounted
  for (const facts of statements) {
    counted ||= mayCount(facts)
    if (!counted && recalls(facts)) throw forgotten()
  }
}

/** The answer would be somebody else's. */
export const forgotten = (): FleetError =>
  new FleetError(
    'statement_refused',
    'currval() and lastval() ask the connection that has counted, and the statements before may have run on another one',
    { hint: 'use INSERT … RETURNING, or ask in the transaction of the INSERT, behind it' },
  )
