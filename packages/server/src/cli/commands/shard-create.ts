// `shard create`.
import type { CreateShard } from '@fleetshard/core/contract'
import type { CommandContext } from '../context.ts'
import { endpointOf } from '../endpoint.ts'
import { usage } from '../options.ts'
import { printOne, printPlan, say } from '../print.ts'
import { dryRunFlag, outputFlag, reasonFlag, type CommandSpec } from '../spec.ts'
import { shardView } from '../views.ts'

/** `fleetshard shard create`. */
export const shardCreate: CommandSpec = {
  path: 'shard create',
  permission: 'operate',
  summary: 'add a shard, with given servers or with fresh ones on this machine',
  details:
    'While no sharded table of the keyspace holds a row, the ring is dealt anew among all shards. Later a new shard ' +
    'is inactive and owns nothing until reshard rebalance gives it its share.',
  user: 'cli',
  args: [{ name: 'name', doc: 'name of the shard, unique in its keyspace' }],
  flags: [
    {
      flags: '--primary <endpoint>',
      doc: 'postgres:// URL of the primary; the password can come from PGPASSWORD',
    },
    {
      flags: '--replica <endpoint>',
      doc: 'postgres:// URL of a replica; may be given several times',
      many: true,
    },
    { flags: '--embedded', doc: 'start fresh servers instead, by an agent' },
    { flags: '--agent <id>', doc: 'the agent that starts the fresh servers; any if left out' },
    { flags: '--replicas <count>', doc: 'replicas of the fresh servers; 0 if left out' },
    { flags: '--vnodes <count>', doc: 'virtual nodes; 256 if left out' },
    outputFlag,
    dryRunFlag,
    reasonFlag,
  ],
  examples: [
    'shard create shard-03 --embedded --replicas 1',
    'shard create shard-03 --primary postgres://app@db-3.internal/app',
  ],
  async run(context) {
    const body = bodyOf(context)
    if (context.options.isSet('dryRun')) return plan(context, body)
    const shard = await context.admin.shards.create(body, context.change)
    const code = printOne(context, shard, shardView)
    if (shard.status === 'inactive')
      say(context, `the shard is inactive: ${shard.status_reason ?? 'it owns no range'}`)
    return code
  },
}

function bodyOf({ options, config, env }: CommandContext): CreateShard {
  const primary = options.text('primary')
  const embedded = options.isSet('embedded')
  if (embedded === (primary !== undefined)) {
    throw usage('a shard needs either --primary or --embedded', 'see fleetshard shard create --help')
  }
  const replicas = options.list('replica').map((url) => endpointOf(url, env))
  const replicaCount = options.int('replicas', 0, 5)
  if (embedded && replicas.length > 0)
    throw usage('--replica goes with --primary; with --embedded it is --replicas')
  if (!embedded && replicaCount !== undefined)
    throw usage('--replicas goes with --embedded; with --primary it is --replica')
  const agent = options.text('agent')
  if (!embedded && agent !== undefined) throw usage('--agent goes with --embedded')
  const vnodes = options.int('vnodes', 1, 4096)
  return {
    name: options.arg(0),
    keyspace: config.get('keyspace'),
    ...(primary === undefined ? {} : { primary_endpoint: endpointOf(primary, env) }),
    ...(replicas.length === 0 ? {} : { replicas }),
    ...(embedded ? { nodes: 'embedded' as const } : {}),
    ...(replicaCount === undefined ? {} : { replica_count: replicaCount }),
    ...(agent === undefined ? {} : { agent }),
    ...(vnodes === undefined ? {} : { vnode_count: vnodes }),
  }
}

async function plan(context: CommandContext, body: CreateShard) {
  const { shards } = await context.admin.shards.list(
    { keyspace: context.config.get('keyspace'), vnodes: false },
    { signal: context.stop },
  )
  const taken = shards.some(({ name }) => name === body.name)
  return printPlan(context, {
    method: 'POST',
    path: '/api/v1/shards',
    body,
    effects: taken
      ? [`it would be refused: the name ${body.name} is taken`]
      : [
          `shard ${body.name} would join ${String(shards.length)} others in keyspace ${context.config.get('keyspace')}`,
          shards.length === 0
            ? 'it would own the whole ring'
            : 'it would get its part of the ring if no sharded table holds a row, else be inactive until ranges are handed to it',
        ],
  })
}
