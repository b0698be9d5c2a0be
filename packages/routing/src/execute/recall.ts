// What a connection remembers of the sequences it has asked: currval() and lastval(). A client believes its connection
// to be one, but its statements run on many: another one remembers nothing, or the number that somebody else was given.
import { FleetError } from '@fleetshard/core'
import type { Command } from '../plan/command.ts'
import type { StatementFacts } from '../plan/facts.ts'

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

const forgotten = (): FleetError =>
  new FleetError(
    'statement_refused',
    'currval() and lastval() ask the connection that has counted, and the statements before may have run on another one',
    { hint: 'use INSERT … RETURNING, or ask in the transaction of the INSERT, behind it' },
  )
