// `node list`.
import { printList, say } from '../print.ts'
import { outputFlag, watchFlag, type CommandSpec } from '../spec.ts'
import { nodeView } from '../views.ts'
import { printOrWatch } from '../watch.ts'

/** `fleetshard node list`. */
export const nodeList: CommandSpec = {
  path: 'node list',
  permission: 'view',
  summary: 'list the database servers of all shards, and embedded ones that no shard uses',
  user: 'cli',
  flags: [{ flags: '--shard <id>', doc: 'only those of the shard' }, outputFlag, watchFlag],
  run: (call) =>
    printOrWatch(call, async (context) => {
      const shard = context.options.text('shard')
      const { nodes, agents_unreachable: unreachable } = await context.admin.nodes.list(
        shard === undefined ? {} : { shard_id: shard },
        { signal: context.stop },
      )
      if (unreachable.length > 0)
        say(context, `not all are listed: no answer from agent ${unreachable.join(', ')}`)
      return printList(context, nodes, nodeView, 'no servers')
    }),
}
