// `reshard move`.
import { followBegun, printReshardPlan, reversibleOf, targetFlags, targetOf } from '../reshard-job.ts'
import type { CommandSpec } from '../spec.ts'

/** `fleetshard reshard move`. */
export const reshardMove: CommandSpec = {
  path: 'reshard move',
  permission: 'operate',
  summary: 'bring a shard to other servers, while it serves',
  user: 'cli',
  args: [{ name: 'source', doc: 'id of the shard' }],
  flags: targetFlags,
  examples: ['reshard move shard-01 --to shard-01b=postgres://app@db-9/app'],
  async run(context) {
    const { options, admin, change } = context
    const body = {
      source_shard_id: options.arg(0),
      target_shard: targetOf(context),
      ...reversibleOf(context),
    }
    if (options.isSet('dryRun')) {
      const plan = await admin.reshard.planMove(body, change)
      return printReshardPlan(context, { path: '/api/v1/reshard/move', body }, plan)
    }
    return followBegun(context, await admin.reshard.move(body, change))
  },
}
