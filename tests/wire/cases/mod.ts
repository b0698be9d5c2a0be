// All wire cases, by chapter.
import type { WireCase } from '../script.ts'
import { copyCases } from './copy.ts'
import { errorCases } from './errors.ts'
import { extendedCases } from './extended.ts'
import { formatCases } from './formats.ts'
import { groupCases } from './groups.ts'
import { lookupCases } from './lookups.ts'
import { sessionCases } from './session.ts'
import { simpleCases } from './simple.ts'
import { transactionCases } from './transactions.ts'
import { writeCases } from './writes.ts'

/** Chapter → cases. Each stands alone: it begins with the rows of world.ts and fresh sessions. */
export const wireCases: Readonly<Record<string, readonly WireCase[]>> = {
  simple: simpleCases,
  lookups: lookupCases,
  writes: writeCases,
  extended: extendedCases,
  groups: groupCases,
  errors: errorCases,
  transactions: transactionCases,
  session: sessionCases,
  copy: copyCases,
  formats: formatCases,
}
