// `node add`, `node remove`, `node rebuild`: the replicas of a shard.
import { FleetError } from '@fleetshard/core'
import type { CommandContext } from '../context.ts'
import { EXIT } from '../exit-codes.ts'
import { failoverView } from '../failovers.ts'
import { confirmDeletion, printOne, printPlan, say } from '../print.ts'
import { dryRunFlag, outputFlag, reasonFlag, yesFlag, type CommandSpec } from '../spec.ts'

/** `fleetshard node add`. */
export const nodeAdd: CommandSpec = {
  path: 'node add',
  permission: 'operate',
  summary: 'give a shard one more replica, cloned from its primary',
  details:
    'The copy is made by a job; reads go to the replica once it has caught up. It runs beside the primary, or with --agent on another host, where agents have TLS.',
  user: 'cli',
  args: [{ name: 'shard', doc: 'id of the shard' }],
  flags: [
    { flags: '--agent <id>', doc: 'the agent that runs the replica; by default that of the primary' },
    outputFlag,
    dryRunFlag,
    reasonFlag,
  ],
  examples: ['node add shard-01', 'node add shard-01 --agent db2'],
  async run(context) {
    const { options, admin, change } = context
    const shard = options.arg(0)
    const agent = options.text('agent')
    const path = `/api/v1/shards/${shard}/nodes`
    if (options.isSet('dryRun')) {
      const place = agent === undefined ? 'beside the primary' : `by the agent ${agent}`
      const effects = [`a Postgres server would be started ${place} and cloned from the primary`]
      return printPlan(context, { method: 'POST', path, effects })
    }
    const job = await admin.shards.addNode(
      shard,
      { ...reasonOf(context), ...(agent === undefined ? {} : { agent }) },
      change,
    )
    const code = printOne(context, job, failoverView)
    say(context, `fleetshard failover explain ${shard} --all tells how far it is`)
    return code
  },
}

/** `fleetshard node rebuild`. */
export const nodeRebuild: CommandSpec = {
  path: 'node rebuild',
  permission: 'operate',
  summary: 'make a replica anew: as it is where its history allows it, rewound, or as a new clone',
  user: 'cli',
  args: [{ name: 'id', doc: 'id of the node' }],
  flags: [outputFlag, dryRunFlag, reasonFlag],
  async run(context) {
    const { options, admin, change } = context
    const node = options.arg(0)
    const shard = await shardOf(context, node)
    const path = `/api/v1/shards/${shard}/nodes/${node}/rebuild`
    if (options.isSet('dryRun')) {
      const effects = [`${node} would serve no reads until it follows the primary of shard ${shard} again`]
      return printPlan(context, { method: 'POST', path, effects })
    }
    const job = await admin.shards.rebuildNode(shard, node, reasonOf(context), change)
    const code = printOne(context, job, failoverView)
    say(context, `fleetshard failover explain ${shard} --all tells how far it is`)
    return code
  },
}

/** `fleetshard node remove`. */
export const nodeRemove: CommandSpec = {
  path: 'node remove',
  permission: 'operate',
  summary: 'take a replica out of its shard and delete its server',
  user: 'cli',
  args: [{ name: 'id', doc: 'id of the node' }],
  flags: [yesFlag, dryRunFlag, reasonFlag],
  async run(context) {
    const { options, admin, change } = context
    const node = options.arg(0)
    const shard = await shardOf(context, node)
    const path = `/api/v1/shards/${shard}/nodes/${node}`
    if (options.isSet('dryRun')) {
      const effects = [
        `${node} would be taken out of shard ${shard}, and its server deleted once no commit counts on it`,
      ]
      return printPlan(context, { method: 'DELETE', path, effects })
    }
    await confirmDeletion(context, 'node', node)
    const { server_removed: isGone } = await admin.shards.removeNode(shard, node, change)
    say(context, isGone ? `node ${node} removed` : `node ${node} is out of the shard; its server is left`)
    return EXIT.ok
  },
}

async function shardOf({ admin, stop }: CommandContext, node: string): Promise<string> {
  const { shard_id: shard } = await admin.nodes.get(node, { signal: stop })
  if (shard !== null) return shard
  throw new FleetError('conflict', `node ${node} belongs to no shard`, {
    hint: 'fleetshard node delete removes it',
  })
}

function reasonOf({ options }: CommandContext): { readonly reason?: string } {
  const reason = options.text('reason')
  return reason === undefined ? {} : { reason }
}
