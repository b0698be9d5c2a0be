// `adopt`: an existing database becomes a keyspace of one shard.
import type { Adopt } from '@fleetshard/core/contract'
import { endpointOf } from '../endpoint.ts'
import { renderList } from '../output/mod.ts'
import { printOne, printPlan, say } from '../print.ts'
import { dryRunFlag, outputFlag, reasonFlag, type CommandSpec } from '../spec.ts'
import { keyspaceView, suggestionView } from '../views.ts'
import { HASHES } from '../words.ts'

/** `fleetshard adopt`. */
export const adopt: CommandSpec = {
  path: 'adopt',
  permission: 'operate',
  summary: 'make an existing database a keyspace of one shard; no row is moved',
  details:
    'The tables of the database are looked at, and a shard key is suggested for each, with the reason. Give the ' +
    'password in the environment, PGPASSWORD, rather than in the URL: other users can read the arguments of a process.',
  user: 'cli',
  args: [
    { name: 'name', doc: 'name of the new keyspace' },
    { name: 'endpoint', doc: 'postgres:// URL of the primary' },
  ],
  flags: [
    {
      flags: '--replica <endpoint>',
      doc: 'postgres:// URL of a replica; may be given several times',
      many: true,
    },
    { flags: '--shard-name <name>', doc: 'name of the shard' },
    { flags: '--hash <hash>', doc: 'hash of the shard key', choices: HASHES },
    { flags: '--vnodes <count>', doc: 'virtual nodes of the shard; 256 if left out' },
    outputFlag,
    dryRunFlag,
    reasonFlag,
  ],
  examples: ['adopt app postgres://app@db-1.internal/app --replica postgres://app@db-2.internal/app'],
  async run(context) {
    const { options, admin, change, terminal, output, errStyle } = context
    const body = bodyOf(context)
    const name = options.arg(0)
    if (options.isSet('dryRun')) {
      return printPlan(context, {
        method: 'POST',
        path: `/api/v1/keyspaces/${name}/adopt`,
        body,
        effects: [
          `keyspace ${name} would exist with one shard that owns the whole ring`,
          'the schema fleetshard would be added to the database; no row and no table would change',
        ],
      })
    }
    const adoption = await admin.keyspaces.adopt(name, body, change)
    if (output === 'json' || output === 'yaml') {
      return printOne(context, adoption, { name: () => adoption.keyspace.name, columns: [] })
    }
    const code = printOne(context, adoption.keyspace, keyspaceView)
    if (adoption.tables.length > 0) {
      say(context, `\nthe shard is ${adoption.shard.id}; its tables and what they could be sharded by:`)
      terminal.err(
        renderList(adoption.tables, suggestionView, 'table', { style: errStyle, cells: terminal.columns() }),
      )
      say(context, `\nnext: fleetshard table declare TABLE --key COLUMN --keyspace ${name}`)
    }
    return code
  },
}

function bodyOf({ options, env }: Parameters<CommandSpec['run']>[0]): Adopt {
  const hash = options.choice('hash', HASHES)
  const shardName = options.text('shardName')
  const vnodes = options.int('vnodes', 1, 4096)
  const replicas = options.list('replica').map((url) => endpointOf(url, env))
  return {
    primary_endpoint: endpointOf(options.arg(1), env),
    ...(replicas.length === 0 ? {} : { replicas }),
    ...(hash === undefined ? {} : { hash }),
    ...(shardName === undefined ? {} : { shard_name: shardName }),
    ...(vnodes === undefined ? {} : { vnode_count: vnodes }),
  }
}
