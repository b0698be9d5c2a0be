// `table list`.
import { printList } from '../print.ts'
import { outputFlag, watchFlag, type CommandSpec } from '../spec.ts'
import { tableView } from '../views.ts'
import { printOrWatch } from '../watch.ts'

/** `fleetshard table list`. */
export const tableList: CommandSpec = {
  path: 'table list',
  permission: 'view',
  summary: 'list the declared tables of the keyspace',
  user: 'cli',
  flags: [outputFlag, watchFlag],
  run: (call) =>
    printOrWatch(call, async (context) => {
      const { tables } = await context.admin.tables.list(context.config.get('keyspace'), {
        signal: context.stop,
      })
      return printList(
        context,
        tables,
        tableView,
        'no tables; fleetshard table create -f schema.sql makes some',
      )
    }),
}
