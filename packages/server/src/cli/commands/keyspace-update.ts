// `keyspace update`.
import type { PatchKeyspace } from '@fleetshard/core/contract'
import { usage } from '../options.ts'
import { printOne, printPlan } from '../print.ts'
import { dryRunFlag, outputFlag, reasonFlag, type CommandSpec } from '../spec.ts'
import { keyspaceView } from '../views.ts'
import { CONSISTENCIES, DURABILITIES } from '../words.ts'

/** `fleetshard keyspace update`. */
export const keyspaceUpdate: CommandSpec = {
  path: 'keyspace update',
  permission: 'operate',
  summary: 'change the default consistency, or what a failover may cost',
  user: 'cli',
  args: [{ name: 'name', doc: 'name of the keyspace' }],
  flags: [
    { flags: '--consistency <level>', doc: 'of statements that do not say', choices: CONSISTENCIES },
    { flags: '--durability <mode>', doc: 'what a failover may cost', choices: DURABILITIES },
    outputFlag,
    dryRunFlag,
    reasonFlag,
  ],
  examples: ['keyspace update default --durability protection'],
  async run(context) {
    const { options, admin, change } = context
    const consistency = options.choice('consistency', CONSISTENCIES)
    const durability = options.choice('durability', DURABILITIES)
    if (consistency === undefined && durability === undefined) {
      throw usage('nothing is to be changed', 'give --consistency or --durability')
    }
    const body: PatchKeyspace = {
      ...(consistency === undefined ? {} : { default_consistency: consistency }),
      ...(durability === undefined ? {} : { durability }),
    }
    const path = `/api/v1/keyspaces/${options.arg(0)}`
    if (options.isSet('dryRun')) {
      const effects = [`keyspace ${options.arg(0)} would be changed; its shards follow within seconds`]
      return printPlan(context, { method: 'PATCH', path, body, effects })
    }
    return printOne(context, await admin.keyspaces.patch(options.arg(0), body, change), keyspaceView)
  },
}
