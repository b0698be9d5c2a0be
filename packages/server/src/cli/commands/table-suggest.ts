// `table suggest`.
import { printList } from '../print.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'
import { suggestionView } from '../views.ts'

/** `fleetshard table suggest`. */
export const tableSuggest: CommandSpec = {
  path: 'table suggest',
  permission: 'view',
  summary: 'look at the tables of the keyspace and suggest a shard key for each, with the reason',
  user: 'cli',
  flags: [outputFlag],
  async run(context) {
    const { admin, config, stop } = context
    const { suggestions } = await admin.tables.suggestions(config.get('keyspace'), { signal: stop })
    return printList(context, suggestions, suggestionView, 'no tables')
  },
}
