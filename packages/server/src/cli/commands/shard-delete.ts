// `shard delete`.
import { EXIT } from '../exit-codes.ts'
import { confirmDeletion, printPlan, say } from '../print.ts'
import { dryRunFlag, reasonFlag, yesFlag, type CommandSpec } from '../spec.ts'
import { ownedShare } from '../views.ts'

/** `fleetshard shard delete`. */
export const shardDelete: CommandSpec = {
  path: 'shard delete',
  permission: 'operate',
  summary: 'delete a shard that is empty or owns no range',
  user: 'cli',
  args: [{ name: 'id', doc: 'id of the shard' }],
  flags: [yesFlag, dryRunFlag, reasonFlag],
  async run(context) {
    const { options, admin, stop, change } = context
    const shard = await admin.shards.get(options.arg(0), { signal: stop })
    if (options.isSet('dryRun')) {
      return printPlan(context, {
        method: 'DELETE',
        path: `/api/v1/shards/${shard.id}`,
        effects: [
          `shard ${shard.name} owns ${ownedShare(shard)} of the ring`,
          shard.vnode_count === 0
            ? 'it would be deleted; servers of others keep running, with their rows'
            : 'it would be deleted only if its sharded tables are empty; its ranges would go to the other shards',
        ],
      })
    }
    await confirmDeletion(context, 'shard', shard.id)
    await admin.shards.remove(shard.id, { ...change, version: shard.version })
    say(context, `shard ${shard.id} deleted`)
    return EXIT.ok
  },
}
