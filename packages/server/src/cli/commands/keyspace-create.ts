// `keyspace create`.
import type { CreateKeyspace } from '@fleetshard/core/contract'
import { printOne, printPlan } from '../print.ts'
import { dryRunFlag, outputFlag, reasonFlag, type CommandSpec } from '../spec.ts'
import { keyspaceView } from '../views.ts'
import { CONSISTENCIES, DURABILITIES, HASHES } from '../words.ts'

/** `fleetshard keyspace create`. */
export const keyspaceCreate: CommandSpec = {
  path: 'keyspace create',
  permission: 'operate',
  summary: 'create an empty keyspace',
  details: 'The hash of a keyspace cannot be changed later.',
  user: 'cli',
  args: [{ name: 'name', doc: 'lowercase letters, digits and _' }],
  flags: [
    { flags: '--hash <hash>', doc: 'hash of the shard key; murmur3 if left out', choices: HASHES },
    { flags: '--consistency <level>', doc: 'of statements that do not say', choices: CONSISTENCIES },
    {
      flags: '--durability <mode>',
      doc: 'what a failover may cost; by the number of replicas if left out',
      choices: DURABILITIES,
    },
    outputFlag,
    dryRunFlag,
    reasonFlag,
  ],
  examples: ['keyspace create app', 'keyspace create app --hash postgres'],
  async run(context) {
    const { options, admin, change } = context
    const hash = options.choice('hash', HASHES)
    const consistency = options.choice('consistency', CONSISTENCIES)
    const durability = options.choice('durability', DURABILITIES)
    const body: CreateKeyspace = {
      name: options.arg(0),
      ...(hash === undefined ? {} : { hash }),
      ...(consistency === undefined ? {} : { default_consistency: consistency }),
      ...(durability === undefined ? {} : { durability }),
    }
    if (options.isSet('dryRun')) {
      const effects = [`keyspace ${body.name} would exist, without shards and tables`]
      return printPlan(context, { method: 'POST', path: '/api/v1/keyspaces', body, effects })
    }
    return printOne(context, await admin.keyspaces.create(body, change), keyspaceView)
  },
}
