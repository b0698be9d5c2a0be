// `node delete`.
import { EXIT } from '../exit-codes.ts'
import { confirmDeletion, printPlan, say } from '../print.ts'
import { dryRunFlag, reasonFlag, yesFlag, type CommandSpec } from '../spec.ts'

/** `fleetshard node delete`. */
export const nodeDelete: CommandSpec = {
  path: 'node delete',
  permission: 'operate',
  summary: 'stop an embedded server that no shard uses and delete its data',
  user: 'cli',
  args: [{ name: 'id', doc: 'id of the server' }],
  flags: [yesFlag, dryRunFlag, reasonFlag],
  async run(context) {
    const { options, admin, stop, change } = context
    const node = await admin.nodes.get(options.arg(0), { signal: stop })
    if (options.isSet('dryRun')) {
      return printPlan(context, {
        method: 'DELETE',
        path: `/api/v1/nodes/${node.id}`,
        effects: [
          node.shard_id === null
            ? 'the server would be stopped and its data deleted'
            : `it would be refused: shard ${node.shard_id} uses the server`,
        ],
      })
    }
    await confirmDeletion(context, 'node', node.id)
    await admin.nodes.remove(node.id, change)
    say(context, `node ${node.id} deleted`)
    return EXIT.ok
  },
}
