// `token revoke`.
import { EXIT } from '../exit-codes.ts'
import { say } from '../print.ts'
import { reasonFlag, type CommandSpec } from '../spec.ts'

/** `fleetshard token revoke`. */
export const tokenRevoke: CommandSpec = {
  path: 'token revoke',
  permission: 'administer',
  summary: 'revoke a token: it is refused from now on',
  user: 'cli',
  args: [{ name: 'id', doc: 'id or name of the token' }],
  flags: [reasonFlag],
  async run(context) {
    const { options, admin, change } = context
    await admin.tokens.revoke(options.arg(0), change)
    say(context, `token ${options.arg(0)} revoked`)
    return EXIT.ok
  },
}
