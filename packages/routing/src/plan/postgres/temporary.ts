// Which statements make an object that lives as long as the session.
import { childOf, textOf, type TreeObject } from './tree.ts'

/** Where the definition of a relation names it. */
const TARGET: Readonly<Record<string, string>> = {
  ViewStmt: 'view',
  CreateSeqStmt: 'sequence',
  CreateStmt: 'relation',
}

/** CREATE TEMP TABLE, TEMP VIEW, TEMP SEQUENCE, CREATE TABLE AS and SELECT INTO a temporary table. */
export function makesTemporary(kind: string, body: TreeObject): boolean {
  const target = targetOf(kind, body)
  return textOf(target, 'relpersistence') === 't' || textOf(target, 'schemaname') === 'pg_temp'
}

/** The name of what is made. */
export const temporaryNameOf = (kind: string, body: TreeObject): string =>
  textOf(targetOf(kind, body), 'relname') ?? ''

function targetOf(kind: string, body: TreeObject): TreeObject | null {
  const into = childOf(body, 'into') ?? childOf(body, 'intoClause')
  return childOf(into, 'rel') ?? childOf(body, TARGET[kind] ?? '')
}
