// Sorts statements into kinds, by the node type of the grammar. What is not listed is refused: a new kind of
// statement must be thought about before it may run on a shared connection.
import type { Refusal, StatementKind } from '../facts.ts'
import { makesTemporary } from './temporary.ts'
import { asArray, asObject, bodyOf, childOf, textOf, unwrap, type TreeObject } from './tree.ts'

/** What the kind of a statement is. */
export interface Classification {
  readonly kind: StatementKind
  readonly refusal: Refusal | null
  readonly transactionOnly: boolean
  readonly explained: boolean
}

const transactionHint =
  'send the statements together to POST /v1/transaction, or begin a transaction with POST /v1/transactions'
const settingHint =
  'set it for the role or the database (ALTER ROLE … SET), or use SET LOCAL inside POST /v1/transaction'

const REFUSED: Readonly<Record<string, Refusal>> = {
  TransactionStmt: {
    reason: 'a transaction is begun and ended by requests of its own',
    hint: transactionHint,
  },
  ListenStmt: {
    reason: 'LISTEN needs a connection of its own',
    hint: 'connect to the shard with a Postgres driver',
  },
  UnlistenStmt: {
    reason: 'UNLISTEN needs a connection of its own',
    hint: 'connect to the shard with a Postgres driver',
  },
  PrepareStmt: {
    reason: 'PREPARE would leave a name behind in a shared connection',
    hint: 'send the query with params; statements are prepared behind the scenes',
  },
  ExecuteStmt: {
    reason: 'EXECUTE needs a statement prepared on the same connection',
    hint: 'send the query with params; statements are prepared behind the scenes',
  },
  DeallocateStmt: { reason: 'DEALLOCATE concerns a connection that is shared', hint: 'leave it out' },
  DeclareCursorStmt: {
    reason: 'a cursor cannot stay open over HTTP',
    hint: 'read in pages with LIMIT and a key',
  },
  FetchStmt: { reason: 'there is no open cursor', hint: 'read in pages with LIMIT and a key' },
  ClosePortalStmt: { reason: 'there is no open cursor', hint: 'leave it out' },
  DiscardStmt: { reason: 'DISCARD concerns a connection that is shared', hint: 'leave it out' },
  LoadStmt: {
    reason: 'LOAD would change a shared connection',
    hint: 'set session_preload_libraries for the role',
  },
  CopyStmt: {
    reason: 'COPY is not possible over HTTP',
    hint: 'send INSERT statements, or connect to the shard with a Postgres driver',
  },
  ConstraintsSetStmt: {
    reason: 'SET CONSTRAINTS only means something in a transaction',
    hint: transactionHint,
  },
  LockStmt: { reason: 'LOCK only means something in a transaction', hint: transactionHint },
  CreatedbStmt: {
    reason: 'databases are not made through the router',
    hint: 'connect to the server of the shard',
  },
  DropdbStmt: {
    reason: 'databases are not dropped through the router',
    hint: 'connect to the server of the shard',
  },
  AlterSystemStmt: {
    reason: 'ALTER SYSTEM changes the server, not the data',
    hint: 'connect to the server of the shard',
  },
  CreateTableSpaceStmt: {
    reason: 'tablespaces belong to the server',
    hint: 'connect to the server of the shard',
  },
  DropTableSpaceStmt: {
    reason: 'tablespaces belong to the server',
    hint: 'connect to the server of the shard',
  },
}

const TRANSACTION_ONLY = new Set(['ConstraintsSetStmt', 'LockStmt'])

const KINDS: Readonly<Record<string, StatementKind>> = {
  SelectStmt: 'read',
  InsertStmt: 'write',
  UpdateStmt: 'write',
  DeleteStmt: 'write',
  MergeStmt: 'write',
  TruncateStmt: 'write',
  NotifyStmt: 'write',
  DoStmt: 'opaque',
  CallStmt: 'opaque',
  VariableShowStmt: 'utility',
  VacuumStmt: 'utility',
  ReindexStmt: 'utility',
  ClusterStmt: 'utility',
  CheckPointStmt: 'utility',
  RefreshMatViewStmt: 'utility',
}

/** Statements that define something; all change only the schema. */
const DDL =
  /^(Create|Alter|Drop|Define|Rename|Comment|Grant|Revoke|Index|View|Rule|SecLabel|Reassign|ImportForeign|Composite)/

/** The kind of a statement of the grammar. */
export function classify(kind: string, body: TreeObject): Classification {
  const refusal = REFUSED[kind]
  if (refusal !== undefined) {
    return { kind: 'refused', refusal, transactionOnly: TRANSACTION_ONLY.has(kind), explained: false }
  }
  if (kind === 'VariableSetStmt') return classifySet(body)
  if (kind === 'ExplainStmt') return classifyExplain(body)
  if (makesTemporary(kind, body)) return refuseTemporary()
  if (kind === 'SelectStmt') return plain(classifySelect(body))
  const known = KINDS[kind]
  if (known !== undefined) return plain(known)
  if (DDL.test(kind)) return plain('ddl')
  return refused({
    reason: `this kind of statement (${kind}) is not known to the router`,
    hint: 'connect to the shard with a Postgres driver',
  })
}

const plain = (kind: StatementKind): Classification => ({
  kind,
  refusal: null,
  transactionOnly: false,
  explained: false,
})

const refused = (refusal: Refusal, transactionOnly = false): Classification => ({
  kind: 'refused',
  refusal,
  transactionOnly,
  explained: false,
})

const refuseTemporary = (): Classification =>
  refused({
    reason: 'a temporary table would stay behind in a shared connection',
    hint: 'use WITH, or a table of your own',
  })

/** Not even for one transaction: the router reads keys and results by these, and checks its connections by the role. */
const NEVER_SET =
  /^(role|session_authorization|client_encoding|standard_conforming_strings|backslash_quote|bytea_output|application_name)$/i

function classifySet(body: TreeObject): Classification {
  const refusal = { reason: 'SET would change a connection that others use', hint: settingHint }
  return refused(refusal, body['is_local'] === true && !NEVER_SET.test(textOf(body, 'name') ?? ''))
}

/** EXPLAIN alone plans; with ANALYZE it runs the statement. */
function classifyExplain(body: TreeObject): Classification {
  const inner = unwrap(body['query'])
  if (inner === null) return plain('read')
  const classified = classify(inner.kind, inner.body)
  const options = asArray(body['options']).map((option) => textOf(bodyOf(option, 'DefElem'), 'defname'))
  if (options.includes('route')) {
    return refused({
      reason: 'EXPLAIN (ROUTE) asks the router, not a server',
      hint: 'POST /v1/route, or fleetshard route, tells the same',
    })
  }
  if (classified.kind === 'refused') return classified
  const runs = options.includes('analyze')
  return { ...classified, kind: runs ? classified.kind : 'read', explained: true }
}

function classifySelect(body: TreeObject): StatementKind {
  if (childOf(body, 'intoClause') !== null) return 'ddl'
  let kind: StatementKind = 'read'
  walkSelects(body, (select) => {
    if (asArray(select['lockingClause']).length > 0 && kind === 'read') kind = 'locking'
    for (const cte of asArray(childOf(select, 'withClause')?.['ctes'])) {
      const query = unwrap(bodyOf(cte, 'CommonTableExpr')?.['ctequery'])
      if (query !== null && query.kind !== 'SelectStmt') kind = 'write'
    }
  })
  return kind
}

/** Visits every SELECT inside, whether wrapped as a node or the bare branch of a set operation. */
function walkSelects(value: unknown, visit: (select: TreeObject) => void): void {
  if (Array.isArray(value)) {
    for (const item of value) walkSelects(item, visit)
    return
  }
  const node = asObject(value)
  if (node === null) return
  if ('limitOption' in node || 'lockingClause' in node || 'withClause' in node) visit(node)
  for (const name in node) walkSelects(node[name], visit)
}
