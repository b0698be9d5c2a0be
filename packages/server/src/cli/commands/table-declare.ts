// `table declare`: a table that exists on the shards becomes one that FleetShard routes.
import { usage } from '../options.ts'
import { printList, printPlan, say } from '../print.ts'
import { dryRunFlag, outputFlag, reasonFlag, type CommandSpec } from '../spec.ts'
import { tableView } from '../views.ts'

/** `fleetshard table declare`. */
export const tableDeclare: CommandSpec = {
  path: 'table declare',
  permission: 'operate',
  summary: 'declare a table that exists already: by which column it is sharded, or that it is not',
  user: 'cli',
  args: [{ name: 'table', doc: 'name of the table, with its schema where it is not public' }],
  flags: [
    { flags: '--key <column>', doc: 'shard key' },
    { flags: '--reference', doc: 'all its rows are on every shard' },
    { flags: '--global', doc: 'all its rows are on one shard' },
    outputFlag,
    dryRunFlag,
    reasonFlag,
  ],
  examples: ['table declare users --key user_id', 'table declare countries --reference'],
  async run(context) {
    const { options, config, admin, change } = context
    const table = options.arg(0)
    const key = options.text('key')
    const given = [key !== undefined, options.isSet('reference'), options.isSet('global')].filter(Boolean)
    if (given.length !== 1) throw usage('a table is declared by one of --key, --reference and --global')
    const kind = key !== undefined ? 'sharded' : options.isSet('global') ? 'global' : 'reference'
    const body = { name: table, kind, ...(key === undefined ? {} : { key_column: key }) } as const
    const keyspace = config.get('keyspace')
    if (options.isSet('dryRun')) {
      const effects = [
        `table ${table} would be checked on every shard and declared ${kind}; no row would change`,
      ]
      return printPlan(context, {
        method: 'POST',
        path: `/api/v1/keyspaces/${keyspace}/tables`,
        body,
        effects,
      })
    }
    const creation = await admin.tables.create(keyspace, body, change)
    for (const warning of creation.warnings) say(context, `warning: ${warning}`)
    return printList(context, creation.tables, tableView, 'no tables')
  },
}
