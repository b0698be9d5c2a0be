// `shard update`.
import type { PatchShard } from '@fleetshard/core/contract'
import type { CommandContext } from '../context.ts'
import { endpointOf } from '../endpoint.ts'
import { usage } from '../options.ts'
import { printOne, printPlan } from '../print.ts'
import { dryRunFlag, outputFlag, reasonFlag, type CommandSpec } from '../spec.ts'
import { shardView } from '../views.ts'
import { SETTABLE_STATUSES } from '../words.ts'

/** `fleetshard shard update`. */
export const shardUpdate: CommandSpec = {
  path: 'shard update',
  permission: 'operate',
  summary: 'change the name, state or replicas of a shard',
  details: 'The change is refused when somebody else changed the shard since it was read.',
  user: 'cli',
  args: [{ name: 'id', doc: 'id of the shard' }],
  flags: [
    { flags: '--name <name>', doc: 'new name' },
    { flags: '--status <status>', doc: 'new state', choices: SETTABLE_STATUSES },
    {
      flags: '--replica <endpoint>',
      doc: 'the replicas from now on; may be given several times',
      many: true,
    },
    { flags: '--no-replicas', doc: 'no replicas from now on' },
    {
      flags: '--if-version <version>',
      doc: 'refuse when the shard has another version; the one read now if left out',
    },
    outputFlag,
    dryRunFlag,
    reasonFlag,
  ],
  examples: ['shard update shard-1a2b --status readonly --reason "maintenance"'],
  async run(context) {
    const { options, admin, stop, change } = context
    const id = options.arg(0)
    const body = bodyOf(context)
    const version =
      options.int('ifVersion', 0, Number.MAX_SAFE_INTEGER) ??
      (await admin.shards.get(id, { signal: stop })).version
    if (options.isSet('dryRun')) {
      const effects = Object.keys(body).map((field) => `${field} of shard ${id} would change`)
      return printPlan(context, { method: 'PATCH', path: `/api/v1/shards/${id}`, body, effects })
    }
    return printOne(context, await admin.shards.patch(id, body, { ...change, version }), shardView)
  },
}

function bodyOf({ options, env }: CommandContext): PatchShard {
  const name = options.text('name')
  const status = options.choice('status', SETTABLE_STATUSES)
  const replicas = options.list('replica').map((url) => endpointOf(url, env))
  const none = options.isNegated('replicas')
  if (none && replicas.length > 0) throw usage('--replica and --no-replicas say different things')
  const body: PatchShard = {
    ...(name === undefined ? {} : { name }),
    ...(status === undefined ? {} : { status }),
    ...(none || replicas.length > 0 ? { replicas } : {}),
  }
  if (Object.keys(body).length === 0) throw usage('nothing to change', 'give --name, --status or --replica')
  return body
}
