// `keyspace get`.
import { printOne } from '../print.ts'
import { outputFlag, watchFlag, type CommandSpec } from '../spec.ts'
import { keyspaceView } from '../views.ts'
import { printOrWatch } from '../watch.ts'

/** `fleetshard keyspace get`. */
export const keyspaceGet: CommandSpec = {
  path: 'keyspace get',
  permission: 'view',
  summary: 'show one keyspace',
  user: 'cli',
  args: [{ name: 'name', doc: 'name of the keyspace' }],
  flags: [outputFlag, watchFlag],
  run: (call) =>
    printOrWatch(call, async (context) => {
      const keyspace = await context.admin.keyspaces.get(context.options.arg(0), { signal: context.stop })
      return printOne(context, keyspace, keyspaceView)
    }),
}
