// `keyspace delete`.
import { EXIT } from '../exit-codes.ts'
import { confirmDeletion, printPlan, say } from '../print.ts'
import { dryRunFlag, reasonFlag, yesFlag, type CommandSpec } from '../spec.ts'

/** `fleetshard keyspace delete`. */
export const keyspaceDelete: CommandSpec = {
  path: 'keyspace delete',
  permission: 'operate',
  summary: 'delete a keyspace that has no shards',
  user: 'cli',
  args: [{ name: 'name', doc: 'name of the keyspace' }],
  flags: [yesFlag, dryRunFlag, reasonFlag],
  async run(context) {
    const { options, admin, stop, change } = context
    const keyspace = await admin.keyspaces.get(options.arg(0), { signal: stop })
    if (options.isSet('dryRun')) {
      const shards = keyspace.shard_count
      return printPlan(context, {
        method: 'DELETE',
        path: `/api/v1/keyspaces/${keyspace.name}`,
        effects: [
          shards === 0
            ? `keyspace ${keyspace.name} and the declarations of its ${String(keyspace.table_count)} tables would be gone`
            : `it would be refused: the keyspace has ${String(shards)} shards`,
        ],
      })
    }
    await confirmDeletion(context, 'keyspace', keyspace.name)
    await admin.keyspaces.remove(keyspace.name, { ...change, version: keyspace.version })
    say(context, `keyspace ${keyspace.name} deleted`)
    return EXIT.ok
  },
}
