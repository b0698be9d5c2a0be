// Which statements make an object that lives as long as the session.
import { childOf, textOf, type TreeObject } from './tree.ts'

/** Where the definition of a relation names it. */
const TARGET: Readonly<Record<string, string>> = {
  ViewStmt: 'view',
  CreateSeqStmt: 'sequence',
  CreateStmt: 'relation',
}

/** The schema of the session's own objects, by its alias and as the server names it. */
const ownSchema = /^pg_(toast_)?temp(_\d+)?$/

/** CREATE TEMP TABLE, TEMP VIEW, TEMP SEQUENCE, CREATE TABLE AS and SELECT INTO a temporary table. */
export function makesTemporary(kind: string, body: TreeObject): boolean {
  const target = targetOf(kind, body)
  return textOf(target, 'relpersistence') === 't' || ownSchema.test(textOf(target, 'schemaname') ?? '')
}

function targetOf(kind: string, body: TreeObject): TreeObject | null {
  const into = childOf(body, 'into') ?? childOf(body, 'intoClause')
  return childOf(into, 'rel') ?? childOf(body, TARGET[kind] ?? '')
}

/** True when a definition names the session's own schema: a type, a function, an operator may be made there too. */
export function namesOwnSchema(tree: unknown): boolean {
  if (typeof tree === 'string') return ownSchema.test(tree)
  if (typeof tree !== 'object' || tree === null) return false
  return Object.values(tree).some(namesOwnSchema)
}
