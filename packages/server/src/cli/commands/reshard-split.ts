// `reshard split`.
import { followBegun, printReshardPlan, reversibleOf, targetFlags, targetsOf } from '../reshard-job.ts'
import type { CommandSpec } from '../spec.ts'

/** `fleetshard reshard split`. */
export const reshardSplit: CommandSpec = {
  path: 'reshard split',
  permission: 'operate',
  summary: 'divide a shard among other shards, while it serves',
  details:
    'Rows are copied and kept in step, compared, and then handed over in one moment in which statements wait. ' +
    'Until then the job can be cancelled, and the source stays as it is. Afterwards the source owns nothing; it keeps ' +
    'its rows until it is deleted. With --keep-source it keeps the first part, and only rows that have moved are removed.',
  user: 'cli',
  args: [{ name: 'source', doc: 'id of the shard' }],
  flags: [
    ...targetFlags,
    { flags: '--keep-source', doc: 'the source stays and keeps the first of the parts' },
    {
      flags: '--split-point <hash>',
      doc: 'last hash of the first of two parts, for a source of a single range',
    },
  ],
  examples: [
    'reshard split shard-01 --to shard-03 --to shard-04 --embedded',
    'reshard split shard-01 --keep-source --to shard-03 --embedded',
    'reshard split shard-01 --to a=postgres://app@db-3/app --to b=postgres://app@db-4/app --dry-run',
  ],
  async run(context) {
    const { options, admin, change } = context
    const splitPoint = options.text('splitPoint')
    const body = {
      source_shard_id: options.arg(0),
      target_shards: [...targetsOf(context)],
      ...reversibleOf(context),
      ...(options.isSet('keepSource') ? { keep_source: true } : {}),
      ...(splitPoint === undefined ? {} : { split_point: splitPoint }),
    }
    if (options.isSet('dryRun')) {
      const plan = await admin.reshard.planSplit(body, change)
      return printReshardPlan(context, { path: '/api/v1/reshard/split', body }, plan)
    }
    return followBegun(context, await admin.reshard.split(body, change))
  },
}
