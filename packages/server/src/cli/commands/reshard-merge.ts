// `reshard merge`.
import { followBegun, printReshardPlan, reversibleOf, targetFlags, targetOf } from '../reshard-job.ts'
import { usage } from '../options.ts'
import type { CommandSpec } from '../spec.ts'

/** `fleetshard reshard merge`. */
export const reshardMerge: CommandSpec = {
  path: 'reshard merge',
  permission: 'operate',
  summary: 'bring several shards together in one, while they serve',
  user: 'cli',
  flags: [
    { flags: '--from <source>', doc: 'id of a source; given at least twice', many: true, required: true },
    ...targetFlags,
  ],
  examples: ['reshard merge --from shard-01 --from shard-02 --to shard-05 --embedded'],
  async run(context) {
    const { options, admin, change } = context
    const sources = [...options.list('from')]
    if (sources.length < 2) throw usage('a merge needs --from at least twice')
    const body = { source_shard_ids: sources, target_shard: targetOf(context), ...reversibleOf(context) }
    if (options.isSet('dryRun')) {
      const plan = await admin.reshard.planMerge(body, change)
      return printReshardPlan(context, { path: '/api/v1/reshard/merge', body }, plan)
    }
    return followBegun(context, await admin.reshard.merge(body, change))
  },
}
