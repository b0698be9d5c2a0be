// Reads from the parse tree what a statement does to its session: the Command of its facts.
import type { Command, CommandOption, NamedTable, TransactionModes } from '../command.ts'
import { innerStatementOf } from '../inner-text.ts'
import { makesTemporary, namesOwnSchema } from './temporary.ts'
import { SlotReader } from './slots.ts'
import { asArray, bodyOf, childOf, namesOf, textOf, unwrap, type TreeObject } from './tree.ts'

/** A reader of one kind of statement; `text` is the statement. */
type Reader = (body: TreeObject, text: string) => Command

/** An EXECUTE is known by its whole text: its literals are those of every call. */
const inPlace = new SlotReader(() => ({ source: null, negative: false }))

const nameOf = (body: TreeObject, field: string): string => textOf(body, field) ?? ''

const READERS: Readonly<Record<string, Reader>> = {
  TransactionStmt: transactionOf,
  VariableSetStmt: setOf,
  VariableShowStmt: (body) => ({ kind: 'show', name: nameOf(body, 'name').toLowerCase() }),
  DiscardStmt: (body) => ({ kind: 'discard', what: DISCARDED[nameOf(body, 'target')] ?? 'all' }),
  ListenStmt: (body) => ({ kind: 'listen', channel: nameOf(body, 'conditionname') }),
  UnlistenStmt: (body) => ({ kind: 'unlisten', channel: textOf(body, 'conditionname') }),
  NotifyStmt: (body) => ({
    kind: 'notify',
    channel: nameOf(body, 'conditionname'),
    payload: textOf(body, 'payload'),
  }),
  LoadStmt: () => ({ kind: 'load' }),
  ConstraintsSetStmt: () => ({ kind: 'set-constraints' }),
  PrepareStmt: (body, text) => ({
    kind: 'prepare',
    name: nameOf(body, 'name'),
    types: asArray(body['argtypes']).map((type) => typeNameOf(bodyOf(type, 'TypeName'))),
    text: innerStatementOf(text, 'as'),
  }),
  ExecuteStmt: (body) => ({
    kind: 'execute',
    name: nameOf(body, 'name'),
    values: asArray(body['params']).map((value) => inPlace.one(value)),
  }),
  DeallocateStmt: (body) => ({ kind: 'deallocate', name: textOf(body, 'name') }),
  DeclareCursorStmt: (body, text) => ({
    kind: 'declare',
    name: nameOf(body, 'portalname'),
    hold: (Number(body['options'] ?? 0) & cursorHold) !== 0,
    text: innerStatementOf(text, 'for'),
  }),
  FetchStmt: (body) => ({
    kind: body['ismove'] === true ? 'move' : 'fetch',
    name: nameOf(body, 'portalname'),
  }),
  ClosePortalStmt: (body) => ({ kind: 'close', name: textOf(body, 'portalname') }),
  CopyStmt: copyOf,
  LockStmt: (body) => ({
    kind: 'lock',
    tables: asArray(body['relations']).flatMap((item) => tableOf(bodyOf(item, 'RangeVar')) ?? []),
  }),
  CallStmt: () => ({ kind: 'call' }),
  DoStmt: () => ({ kind: 'do' }),
  ExplainStmt: (body, text) => {
    const options = optionsOf(body['options'])
    return {
      kind: 'explain',
      options,
      route: options.some(({ name, value }) => name === 'route' && isOn(value)),
      text: innerStatementOf(text, 'explain'),
    }
  },
}

/** CURSOR_OPT_HOLD of src/include/nodes/parsenodes.h. */
const cursorHold = 0x20

const DISCARDED: Readonly<Record<string, 'all' | 'plans' | 'sequences' | 'temp'>> = {
  DISCARD_ALL: 'all',
  DISCARD_PLANS: 'plans',
  DISCARD_SEQUENCES: 'sequences',
  DISCARD_TEMP: 'temp',
}

const ROWS = new Set(['SelectStmt', 'InsertStmt', 'UpdateStmt', 'DeleteStmt', 'MergeStmt', 'TruncateStmt'])
const MAINTENANCE = new Set([
  'VacuumStmt',
  'ReindexStmt',
  'ClusterStmt',
  'CheckPointStmt',
  'RefreshMatViewStmt',
])

/** The command of a statement of the grammar. */
export function commandOf(kind: string, body: TreeObject, text: string): Command {
  const reader = READERS[kind]
  if (reader !== undefined) return reader(body, text)
  if (makesTemporary(kind, body)) return { kind: 'temporary' }
  if (ROWS.has(kind)) return childOf(body, 'intoClause') === null ? { kind: 'rows' } : { kind: 'ddl' }
  if (MAINTENANCE.has(kind) || kind === 'AlterSystemStmt') return { kind: 'utility' }
  return { kind: namesOwnSchema(body) ? 'temporary' : 'ddl' }
}

function transactionOf(body: TreeObject): Command {
  const kind = nameOf(body, 'kind').replace('TRANS_STMT_', '')
  const chain = body['chain'] === true
  const name = nameOf(body, 'savepoint_name')
  const gid = nameOf(body, 'gid')
  switch (kind) {
    case 'BEGIN':
    case 'START':
      return { kind: 'begin', starts: kind === 'START', modes: modesOf(body['options']) }
    case 'COMMIT':
      return { kind: 'commit', chain }
    case 'ROLLBACK':
      return { kind: 'rollback', chain }
    case 'SAVEPOINT':
      return { kind: 'savepoint', name }
    case 'RELEASE':
      return { kind: 'release', name }
    case 'ROLLBACK_TO':
      return { kind: 'rollback-to', name }
    case 'PREPARE':
      return { kind: 'prepare-transaction', gid }
    case 'COMMIT_PREPARED':
      return { kind: 'commit-prepared', gid }
    case 'ROLLBACK_PREPARED':
      return { kind: 'rollback-prepared', gid }
    default:
      return { kind: 'utility' }
  }
}

function modesOf(options: unknown): TransactionModes {
  const values = new Map(
    asArray(options).map((item) => {
      const option = bodyOf(item, 'DefElem')
      return [textOf(option, 'defname') ?? '', scalarOf(option?.['arg'])]
    }),
  )
  const flag = (name: string): boolean | null => {
    const value = values.get(name)
    return value === undefined ? null : value !== '0'
  }
  return {
    isolation: values.get('transaction_isolation') ?? null,
    readOnly: flag('transaction_read_only'),
    deferrable: flag('transaction_deferrable'),
  }
}

function setOf(body: TreeObject): Command {
  const kind = nameOf(body, 'kind')
  const name = nameOf(body, 'name').toLowerCase()
  if (kind === 'VAR_RESET_ALL') return { kind: 'reset', name: null }
  if (kind === 'VAR_RESET') return { kind: 'reset', name }
  if (kind === 'VAR_SET_MULTI') {
    if (name === 'transaction snapshot') {
      return { kind: 'set-transaction-snapshot', snapshot: scalarOf(asArray(body['args'])[0]) ?? '' }
    }
    const session = name === 'session characteristics'
    return { kind: 'set-transaction', session, modes: modesOf(body['args']) }
  }
  return {
    kind: 'set',
    name,
    values: kind === 'VAR_SET_VALUE' ? asArray(body['args']).map((value) => scalarOf(value) ?? '') : null,
    local: body['is_local'] === true,
    fromCurrent: kind === 'VAR_SET_CURRENT',
  }
}

/** A constant or a name as text; of `SET TIME ZONE INTERVAL '1'` the text inside. */
function scalarOf(value: unknown): string | null {
  const node = unwrap(value)
  if (node === null) return null
  if (node.kind === 'TypeCast') return scalarOf(node.body['arg'])
  const leaf = node.kind === 'A_Const' ? node.body : { [node.kind.toLowerCase()]: node.body }
  const text = textOf(childOf(leaf, 'sval') ?? childOf(leaf, 'string'), 'sval')
  if (text !== null) return text
  const decimal = textOf(childOf(leaf, 'fval') ?? childOf(leaf, 'float'), 'fval')
  if (decimal !== null) return decimal
  const whole = childOf(leaf, 'ival') ?? childOf(leaf, 'integer')
  if (whole !== null) return String(Number(whole['ival'] ?? 0))
  const flag = childOf(leaf, 'boolval') ?? childOf(leaf, 'boolean')
  return flag === null ? null : String(flag['boolval'] === true)
}

function optionsOf(options: unknown): CommandOption[] {
  return asArray(options).map((item) => {
    const option = bodyOf(item, 'DefElem')
    return { name: (textOf(option, 'defname') ?? '').toLowerCase(), value: scalarOf(option?.['arg']) }
  })
}

/** As defGetBoolean reads it: an option without a value is on. */
const isOn = (value: string | null): boolean =>
  value === null || !['false', 'off', '0'].includes(value.toLowerCase())

function copyOf(body: TreeObject): Command {
  const columns = namesOf(body['attlist'])
  return {
    kind: 'copy',
    table: tableOf(childOf(body, 'relation')),
    columns: columns.length === 0 ? null : columns,
    direction: body['is_from'] === true ? 'in' : 'out',
    end: body['is_program'] === true ? 'program' : textOf(body, 'filename') === null ? 'client' : 'file',
    options: optionsOf(body['options']),
  }
}

function tableOf(relation: TreeObject | null): NamedTable | null {
  const name = textOf(relation, 'relname')
  return name === null ? null : { schema: textOf(relation, 'schemaname'), name }
}

function typeNameOf(type: TreeObject | null): string {
  const names = namesOf(type?.['names'])
  return names.join('.') + '[]'.repeat(asArray(type?.['arrayBounds']).length)
}
