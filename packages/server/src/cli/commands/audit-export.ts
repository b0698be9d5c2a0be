// `audit export`.
import { EXIT } from '../exit-codes.ts'
import { say } from '../print.ts'
import type { CommandSpec } from '../spec.ts'

const pageRecords = 1000

/** `fleetshard audit export`. */
export const auditExport: CommandSpec = {
  path: 'audit export',
  permission: 'administer',
  summary: 'print all records of the audit log as lines of JSON, the newest first',
  user: 'cli',
  flags: [{ flags: '--since <seq>', doc: 'only records newer than that one' }],
  examples: ['audit export > audit.jsonl', 'audit export --since 1200 >> audit.jsonl'],
  async run(context) {
    const { options, admin, stop, terminal } = context
    const since = options.int('since', 0, Number.MAX_SAFE_INTEGER) ?? 0
    let before: number | undefined
    let count = 0
    for (;;) {
      const query = { limit: pageRecords, ...(before === undefined ? {} : { before }) }
      const { records } = await admin.audit.list(query, { signal: stop })
      const wanted = records.filter(({ seq }) => seq > since)
      for (const record of wanted) terminal.out(`${JSON.stringify(record)}\n`)
      count += wanted.length
      before = records.at(-1)?.seq
      if (records.length < pageRecords || wanted.length < records.length || before === 1) break
    }
    say(context, `${String(count)} records`)
    return EXIT.ok
  },
}
