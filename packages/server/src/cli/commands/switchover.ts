// `switchover`.
import { orderPromotion, promotionFlags } from '../failovers.ts'
import type { CommandSpec } from '../spec.ts'

/** `fleetshard switchover`. */
export const switchover: CommandSpec = {
  path: 'switchover',
  permission: 'operate',
  summary: 'let a replica lead a shard as planned; statements wait for less than a second, nothing is lost',
  user: 'cli',
  args: [{ name: 'shard', doc: 'id of the shard' }],
  flags: promotionFlags,
  examples: ['switchover shard-01', 'switchover shard-01 --to shard-1-a'],
  run: (context) => orderPromotion(context, {}),
}
