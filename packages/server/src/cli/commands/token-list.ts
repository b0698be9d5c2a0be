// `token list`.
import { printList } from '../print.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'
import { tokenView } from '../access-views.ts'

/** `fleetshard token list`. */
export const tokenList: CommandSpec = {
  path: 'token list',
  permission: 'administer',
  summary: 'list the tokens; what their owners send is not kept',
  user: 'cli',
  flags: [outputFlag],
  async run(context) {
    const { tokens } = await context.admin.tokens.list({ signal: context.stop })
    return printList(
      context,
      tokens,
      tokenView,
      'no tokens; fleetshard token create NAME --scope viewer makes one',
    )
  },
}
