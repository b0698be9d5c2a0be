// `keyspace list`.
import { printList } from '../print.ts'
import { outputFlag, watchFlag, type CommandSpec } from '../spec.ts'
import { keyspaceView } from '../views.ts'
import { printOrWatch } from '../watch.ts'

/** `fleetshard keyspace list`. */
export const keyspaceList: CommandSpec = {
  path: 'keyspace list',
  permission: 'view',
  summary: 'list the keyspaces',
  user: 'cli',
  flags: [outputFlag, watchFlag],
  run: (call) =>
    printOrWatch(call, async (context) => {
      const { keyspaces } = await context.admin.keyspaces.list({ signal: context.stop })
      return printList(
        context,
        keyspaces,
        keyspaceView,
        'no keyspaces; fleetshard keyspace create NAME makes one',
      )
    }),
}
