// `shard list`.
import { printList } from '../print.ts'
import { outputFlag, watchFlag, type CommandSpec } from '../spec.ts'
import { shardView } from '../views.ts'
import { printOrWatch } from '../watch.ts'
import { SHARD_STATUSES } from '../words.ts'

/** `fleetshard shard list`. */
export const shardList: CommandSpec = {
  path: 'shard list',
  permission: 'view',
  summary: 'list the shards of the keyspace',
  user: 'cli',
  flags: [
    { flags: '--status <status>', doc: 'only those in the state', choices: SHARD_STATUSES },
    { flags: '-A, --all-keyspaces', doc: 'of all keyspaces' },
    outputFlag,
    watchFlag,
  ],
  examples: ['shard list', 'shard list --status active -o name'],
  run: (call) =>
    printOrWatch(call, async (context) => {
      const { options, admin, config, stop } = context
      const status = options.choice('status', SHARD_STATUSES)
      const { shards } = await admin.shards.list(
        {
          ...(options.isSet('allKeyspaces') ? {} : { keyspace: config.get('keyspace') }),
          ...(status === undefined ? {} : { status }),
        },
        { signal: stop },
      )
      return printList(
        context,
        shards,
        shardView,
        'no shards; fleetshard shard create NAME --embedded makes one',
      )
    }),
}
