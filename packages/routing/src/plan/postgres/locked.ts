// Which tables a SELECT locks rows of, so that others who want to lock or change them wait.
import { asArray, asObject, bodyOf, childOf, textOf, type TreeObject } from './tree.ts'

/** FOR SHARE and FOR KEY SHARE hold nobody up but writers. */
const exclusive = new Set(['LCS_FORUPDATE', 'LCS_FORNOKEYUPDATE'])

/** The relations in FROM that FOR UPDATE or FOR NO KEY UPDATE of this SELECT is about, those in subqueries as well. */
export function lockedIn(select: TreeObject): readonly TreeObject[] {
  const clauses = asArray(select['lockingClause'])
    .map((item) => bodyOf(item, 'LockingClause'))
    .filter((clause) => exclusive.has(textOf(clause, 'strength') ?? ''))
  if (clauses.length === 0) return []
  const names = clauses.map((clause) => asArray(clause?.['lockedRels']).map(nameIn))
  const locksAll = names.some((list) => list.length === 0)
  return asArray(select['fromClause'])
    .flatMap((item) => (locksAll ? [item] : named(item, new Set(names.flat()))))
    .flatMap((item) => relationsIn(item))
}

const nameIn = (item: unknown): string => textOf(bodyOf(item, 'RangeVar'), 'relname') ?? ''

/** The items of FROM with one of these names. */
function named(item: unknown, names: ReadonlySet<string>): unknown[] {
  const join = bodyOf(item, 'JoinExpr')
  if (join !== null) return [join['larg'], join['rarg']].flatMap((side) => named(side, names))
  const relation = bodyOf(item, 'RangeVar')
  const body = relation ?? bodyOf(item, 'RangeSubselect')
  const name = textOf(childOf(body, 'alias'), 'aliasname') ?? textOf(relation, 'relname')
  return name !== null && names.has(name) ? [item] : []
}

function relationsIn(value: unknown): TreeObject[] {
  if (Array.isArray(value)) return (value as unknown[]).flatMap(relationsIn)
  const node = asObject(value)
  if (node === null) return []
  if (typeof node['relname'] === 'string') return [node]
  return Object.values(node).flatMap(relationsIn)
}
