// `key`: where a shard key lands.
import type { ShardForKeyResponse } from '@fleetshard/core/contract'
import type { View } from '../output/mod.ts'
import { printOne } from '../print.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'

const view: View<ShardForKeyResponse> = {
  name: (answer) => answer.shard_id,
  columns: [],
  details: (answer) => [
    ['shard', `${answer.shard_name} (${answer.shard_id})`],
    ['hash', answer.hash],
    ['vnode', answer.vnode ?? ''],
    ['epoch', String(answer.epoch)],
    ['primary', answer.primary_endpoint ?? ''],
    ...answer.replicas.map((replica): [string, string] => ['replica', replica]),
  ],
}

/** `fleetshard key`. */
export const key: CommandSpec = {
  path: 'key',
  permission: 'place',
  summary: 'show which shard a key lies on',
  user: 'cli',
  args: [{ name: 'key', doc: 'value of the shard key' }],
  flags: [
    { flags: '--table <table>', doc: 'read the key by the type of this table’s key column' },
    outputFlag,
  ],
  examples: ['key user-123', 'key user-123 -o name'],
  async run(context) {
    const { router, config, options } = context
    const answer = await router.shardForKey(options.arg(0), config.get('keyspace'), options.text('table'))
    return printOne(context, answer, view)
  },
}
