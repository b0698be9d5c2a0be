// `shard promote`.
import { orderPromotion, promotionFlags } from '../failovers.ts'
import type { CommandSpec } from '../spec.ts'

/** `fleetshard shard promote`. */
export const shardPromote: CommandSpec = {
  path: 'shard promote',
  permission: 'operate',
  summary: 'let a replica lead the shard; with --force also when the primary is gone',
  details:
    'Without --force it is a switchover. With --force an operator answers for what no proof can be had of: that the old primary is dead.',
  user: 'cli',
  args: [{ name: 'shard', doc: 'id of the shard' }],
  flags: [
    ...promotionFlags,
    { flags: '--force', doc: 'a failover, also where the old primary cannot be confirmed dead' },
    { flags: '--allow-data-loss', doc: 'take the node of --to although another has more; goes with --force' },
  ],
  examples: ['shard promote shard-01 --to shard-1-b', 'shard promote shard-01 --force --reason "host lost"'],
  run: (context) => {
    const { options } = context
    return orderPromotion(context, {
      ...(options.isSet('force') ? { force: true } : {}),
      ...(options.isSet('allowDataLoss') ? { allow_data_loss: true } : {}),
    })
  },
}
