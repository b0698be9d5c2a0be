// `audit verify`.
import { EXIT } from '../exit-codes.ts'
import { printOne, say } from '../print.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'
import type { View } from '../output/mod.ts'
import type { AuditVerification } from '@fleetshard/core/contract'

const view: View<AuditVerification> = {
  name: (found) => String(found.last ?? ''),
  columns: [
    { header: 'RECORDS', cell: (found) => found.records, align: 'right' },
    { header: 'FIRST', cell: (found) => found.first ?? '', align: 'right' },
    { header: 'LAST', cell: (found) => found.last ?? '', align: 'right' },
    { header: 'HASH', cell: (found) => found.hash, whole: true },
  ],
}

/** `fleetshard audit verify`. */
export const auditVerify: CommandSpec = {
  path: 'audit verify',
  permission: 'administer',
  summary: 'check that every record of the audit log is as it was written',
  details:
    'Ends with 1 and names the first record that was changed, removed or put in. Keep the hash that it prints elsewhere: ' +
    'as long as that record shows it, nothing before it was changed, not even by whoever can write to the catalog.',
  user: 'cli',
  flags: [outputFlag],
  async run(context) {
    const found = await context.admin.audit.verify({ signal: context.stop })
    printOne(context, found, view)
    if (found.fault === null) return EXIT.ok
    say(context, `record ${String(found.fault.seq)} is not as it was written: ${found.fault.what}`)
    return EXIT.failed
  },
}
