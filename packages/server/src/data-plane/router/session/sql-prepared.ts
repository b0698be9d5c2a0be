// PREPARE and EXECUTE of SQL in keyspaces with several shards. What is prepared is kept by the session, like a statement
// of the protocol, and an EXECUTE is run as one: bound to its values, and placed by them.
import { FleetError } from '@fleetshard/core'
import { writeBind } from '@fleetshard/routing/pgwire'
import type { KnownStatement, Slot } from '@fleetshard/routing/plan'
import { step, type AnswerStep } from './answer.ts'
import { BindMessage } from './bind-message.ts'
import { extendedWork } from './extended-work.ts'
import { built, type GroupItem } from './group-items.ts'
import { learn, prepare } from './prepare.ts'
import type { GroupRunner } from './group-runner.ts'
import type { SessionState } from './session-state.ts'
import { keepsPrepared, preparedStatement, refused } from './sql-prepare.ts'
import type { Work } from './work.ts'

/** int2, int4, int8, text, varchar: an integer is assigned to them, and has the text that they read. */
const integral = new Set([20, 21, 23, 25, 1043])

/** float4, float8, numeric: they read a number with a fraction as it is, where integers would round it. */
const fractional = new Set([700, 701, 1700])

/**
 * The statement of a PREPARE, looked at by the grammar and by a server, as PREPARE itself would.
 * @throws SaidByServer; FleetError `statement_refused`, and with SQLSTATE 42P05 for a name that is taken
 */
export async function checkPrepare(
  state: SessionState,
  runner: GroupRunner,
  { facts: { command } }: KnownStatement,
): Promise<void> {
  if (command.kind !== 'prepare' || !keepsPrepared(state) || state.status === 'E') return
  if (state.statements.has(command.name)) {
    throw new FleetError('invalid_request', `prepared statement "${command.name}" already exists`, {
      sqlstate: '42P05',
    })
  }
  const statement = preparedStatement(state, command)
  const { generation } = state.environment.wireStatements
  const use = { statement, name: command.name, isOnServer: false, generation, shape: null }
  await found(prepare(state, runner, [{ kind: 'parse', name: command.name, use, was: undefined }]))
  if (statement.known?.facts.command.kind !== 'rows')
    throw refused('PREPARE of another command than SELECT, INSERT, UPDATE, DELETE, MERGE or VALUES')
  await learn(state, runner, use)
}

/**
 * An EXECUTE as a use of the statement of that name; null for what is none.
 * @throws SaidByServer; FleetError `statement_refused` for values that are no plain literals, and with SQLSTATE 26000
 */
export async function executeWork(
  state: SessionState,
  runner: GroupRunner,
  { facts: { command } }: KnownStatement,
): Promise<Work | null> {
  if (command.kind !== 'execute' || !keepsPrepared(state) || state.status === 'E') return null
  const use = state.statements.get(command.name)
  if (use === undefined) {
    throw new FleetError('invalid_request', `prepared statement "${command.name}" does not exist`, {
      sqlstate: '26000',
    })
  }
  // Prepared on the server that the session is bound to, while there was one shard.
  if (use.isOnServer) return null
  if (use.statement.described === null) await learn(state, runner, use)
  const types = use.statement.described?.types ?? []
  if (types.length !== command.values.length)
    throw wrongCount(command.name, types.length, command.values.length)
  const params = command.values.map((slot, index) => textOf(slot, types[index] ?? 0))
  const bytes = built((out) => {
    writeBind(out, { portal: '', statement: '', params, resultFormats: [] })
  })
  const items: readonly GroupItem[] = [
    { kind: 'bind', bind: new BindMessage(bytes, 0, bytes.length), use, was: undefined },
    { kind: 'describe-portal', portal: '', use },
    { kind: 'execute', portal: '', rowsMax: 0, use },
  ]
  await found(prepare(state, runner, items))
  const { work } = extendedWork(state, items)
  return work === null ? null : answeredAsQuery(work)
}

/** @throws what is wrong with a statement */
async function found(finding: ReturnType<typeof prepare>): Promise<void> {
  const unready = await finding
  if (unready !== null) throw unready.error
}

/** A Query is not told of what the protocol says around its rows. */
function answeredAsQuery(work: Work): Work {
  return {
    ...work,
    group: (statements, parsed, traceparent) => {
      const group = work.group(statements, parsed, traceparent)
      return { ...group, encode: (out, end) => group.encode(out, end).map(inQuery) }
    },
  }
}

function inQuery(each: AnswerStep): AnswerStep {
  if (each === step.forward) return step.hide
  const isDescription = typeof each === 'object' && 'shape' in each
  return isDescription || each === step.describePortal ? step.describeRows : each
}

/** The value as text, which a server reads as it would read the literal. */
function textOf(slot: Slot | null, type: number): string | null {
  if (slot?.kind === 'null' && !slot.list) return null
  const isPlain = slot?.kind === 'literal' && slot.cast === null && !slot.list
  if (!isPlain)
    throw refused('a value of EXECUTE that is not a plain literal', 'write the value itself, without a cast')
  const isInteger = /^-?\d+$/.test(slot.text)
  if (slot.quoted || fractional.has(type) || (isInteger && integral.has(type))) return slot.text
  throw refused(`the number ${slot.text} for a parameter of another type`, 'write it as the type has it')
}

const wrongCount = (name: string, wanted: number, given: number): FleetError =>
  new FleetError('invalid_request', `wrong number of parameters for prepared statement "${name}"`, {
    sqlstate: '42601',
    hint: `Expected ${String(wanted)} parameters but got ${String(given)}.`,
  })
