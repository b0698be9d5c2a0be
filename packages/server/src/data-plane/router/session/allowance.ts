// What one session may send: statements count by who sends them, and by the address that they come from. What ends a
// transaction is always taken, since a client must be able to give back what it holds.
import type { GroupItem } from './group-items.ts'

/** Takes so many statements from what a client may send. @throws FleetError `rate_limited` */
export type Allowance = (statements: number) => void

/** In front of it may be nothing but blanks: a comment makes it a statement like any other. */
const endsTransaction = /^\s*(?:commit|rollback|end|abort)\b(?!\s+(?:prepared|to)\b)/i

/** Counts the statements of a Query. */
export function spendOnQuery(spend: Allowance | null, lexed: readonly { readonly text: string }[]): void {
  if (spend === null) return
  const count = lexed.filter(({ text }) => !endsTransaction.test(text)).length
  if (count > 0) spend(count)
}

/** Counts those of a piece of the extended protocol: what is run, or what is only parsed. */
export function spendOnItems(spend: Allowance | null, items: readonly GroupItem[]): void {
  if (spend === null) return
  const of = (kind: 'parse' | 'execute'): number =>
    items.filter(
      (item) => item.kind === kind && (item.use === null || !endsTransaction.test(item.use.statement.text)),
    ).length
  const count = Math.max(of('parse'), of('execute'))
  if (count > 0) spend(count)
}
