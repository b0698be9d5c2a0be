// `audit list`.
import { printList } from '../print.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'
import { auditView } from '../access-views.ts'

/** `fleetshard audit list`. */
export const auditList: CommandSpec = {
  path: 'audit list',
  permission: 'administer',
  summary: 'show what was done, tried and refused, the newest first',
  user: 'cli',
  flags: [
    { flags: '--limit <count>', doc: 'at most so many; 100 if left out' },
    { flags: '--before <seq>', doc: 'only records older than that one' },
    outputFlag,
  ],
  async run(context) {
    const { options, admin, stop } = context
    const limit = options.int('limit', 1, 1000)
    const before = options.int('before', 1, Number.MAX_SAFE_INTEGER)
    const query = { ...(limit === undefined ? {} : { limit }), ...(before === undefined ? {} : { before }) }
    const { records } = await admin.audit.list(query, { signal: stop })
    return printList(context, records, auditView, 'nothing is recorded yet')
  },
}
