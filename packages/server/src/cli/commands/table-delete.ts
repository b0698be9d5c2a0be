// `table delete`.
import { EXIT } from '../exit-codes.ts'
import { confirmDeletion, printPlan, say } from '../print.ts'
import { dryRunFlag, reasonFlag, yesFlag, type CommandSpec } from '../spec.ts'

/** `fleetshard table delete`. */
export const tableDelete: CommandSpec = {
  path: 'table delete',
  permission: 'operate',
  summary: 'take the declaration of a table back; the table stays on the shards',
  user: 'cli',
  args: [{ name: 'table', doc: 'name of the table' }],
  flags: [yesFlag, dryRunFlag, reasonFlag],
  async run(context) {
    const { admin, config, options, stop, change } = context
    const keyspace = config.get('keyspace')
    const table = await admin.tables.get(keyspace, options.arg(0), { signal: stop })
    if (options.isSet('dryRun')) {
      return printPlan(context, {
        method: 'DELETE',
        path: `/api/v1/keyspaces/${keyspace}/tables/${table.name}`,
        effects: [`${table.name} would not be routed any more; its rows would stay where they are`],
      })
    }
    await confirmDeletion(context, 'table', table.name)
    await admin.tables.remove(keyspace, table.name, { ...change, version: table.version })
    say(context, `declaration of ${table.name} deleted`)
    return EXIT.ok
  },
}
