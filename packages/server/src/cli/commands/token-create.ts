// `token create`.
import { isScope } from '@fleetshard/core'
import { EXIT } from '../exit-codes.ts'
import { usage } from '../options.ts'
import { printOne, say } from '../print.ts'
import { outputFlag, reasonFlag, type CommandSpec } from '../spec.ts'
import { tokenView } from '../access-views.ts'

/** `fleetshard token create`. */
export const tokenCreate: CommandSpec = {
  path: 'token create',
  permission: 'administer',
  summary: 'make a token and print it, this once',
  details:
    'Scopes are viewer, operator and admin for the control plane, read:KEYSPACE and write:KEYSPACE for rows; * stands ' +
    'for every keyspace. The token goes to standard output, so that it can be kept in a file: only its digest is stored.',
  user: 'cli',
  args: [{ name: 'name', doc: 'who its owner is' }],
  flags: [
    {
      flags: '-s, --scope <scope>',
      doc: 'what it may do; may be given several times',
      many: true,
      required: true,
    },
    { flags: '--expires-in <time>', doc: 'how long it is valid, such as 12h; for good if left out' },
    outputFlag,
    reasonFlag,
  ],
  examples: [
    'token create ci --scope operator',
    'token create reports --scope read:app --expires-in 720h > token',
  ],
  async run(context) {
    const { options, admin, change, clock, output, terminal } = context
    const scopes = options.list('scope')
    const wrong = scopes.find((scope) => !isScope(scope))
    if (wrong !== undefined) {
      throw usage(
        `${JSON.stringify(wrong)} is no scope`,
        'viewer, operator, admin, read:KEYSPACE, write:KEYSPACE',
      )
    }
    const validMs = options.durationMs('expiresIn')
    const made = await admin.tokens.create(
      {
        name: options.arg(0),
        scopes: [...scopes],
        ...(validMs === undefined ? {} : { expires_at: new Date(clock.now() + validMs).toISOString() }),
      },
      change,
    )
    if (output === 'json' || output === 'yaml') return printOne(context, made, tokenView)
    terminal.out(`${made.token}\n`)
    say(context, `token ${made.id} of ${made.name} made; it is not shown again`)
    return EXIT.ok
  },
}
