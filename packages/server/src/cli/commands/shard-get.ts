// `shard get`.
import { printOne } from '../print.ts'
import { outputFlag, watchFlag, type CommandSpec } from '../spec.ts'
import { shardView } from '../views.ts'
import { printOrWatch } from '../watch.ts'

/** `fleetshard shard get`. */
export const shardGet: CommandSpec = {
  path: 'shard get',
  permission: 'view',
  summary: 'show one shard with its servers and ranges',
  user: 'cli',
  args: [{ name: 'id', doc: 'id of the shard' }],
  flags: [outputFlag, watchFlag],
  run: (call) =>
    printOrWatch(call, async (context) => {
      const shard = await context.admin.shards.get(context.options.arg(0), { signal: context.stop })
      return printOne(context, shard, shardView)
    }),
}
