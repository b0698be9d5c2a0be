// `table get`.
import { printOne } from '../print.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'
import { tableView } from '../views.ts'

/** `fleetshard table get`. */
export const tableGet: CommandSpec = {
  path: 'table get',
  permission: 'view',
  summary: 'show one declared table',
  user: 'cli',
  args: [{ name: 'table', doc: 'name of the table' }],
  flags: [outputFlag],
  async run(context) {
    const { admin, config, options, stop } = context
    const table = await admin.tables.get(config.get('keyspace'), options.arg(0), { signal: stop })
    return printOne(context, table, tableView)
  },
}
