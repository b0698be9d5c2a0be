// `reshard rebalance`.
import { followBegun, printReshardPlan, reversibleOf, targetFlags, targetOf } from '../reshard-job.ts'
import type { CommandSpec } from '../spec.ts'

/** `fleetshard reshard rebalance`. */
export const reshardRebalance: CommandSpec = {
  path: 'reshard rebalance',
  permission: 'operate',
  summary: 'give a shard its share of all others, while they serve',
  details:
    'The shard is a new one, or one that owns nothing yet, such as one that was created while tables held rows. ' +
    'Every other shard gives a part of its ranges and keeps the rest; the rows that have moved are removed there at the end.',
  user: 'cli',
  flags: targetFlags,
  examples: ['reshard rebalance --to shard-03', 'reshard rebalance --to shard-03 --embedded --dry-run'],
  async run(context) {
    const { options, admin, change, config } = context
    const body = {
      keyspace: config.get('keyspace'),
      target_shard: targetOf(context),
      ...reversibleOf(context),
    }
    if (options.isSet('dryRun')) {
      const plan = await admin.reshard.planRebalance(body, change)
      return printReshardPlan(context, { path: '/api/v1/reshard/rebalance', body }, plan)
    }
    return followBegun(context, await admin.reshard.rebalance(body, change))
  },
}
