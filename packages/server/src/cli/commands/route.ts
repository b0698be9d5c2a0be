// `route`: where a statement would run, and why.
import type { RouteResponse } from '@fleetshard/core/contract'
import { usage } from '../options.ts'
import type { View } from '../output/mod.ts'
import { printOne } from '../print.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'

const view: View<RouteResponse> = {
  name: (answer) => answer.shard_id ?? answer.plan,
  columns: [],
  details: (answer) => [
    ['plan', answer.plan],
    ...answer.shard_ids.map((shard): [string, string] => ['shard', shard]),
    ['reason', answer.reason],
    ...answer.keys.map(({ table, column, values, inserted }): [string, string] => [
      inserted ? 'new key' : 'key',
      `${table}.${column} = ${values.join(' or ')}`,
    ]),
    ...(answer.hint === null ? [] : [['to run on one shard', answer.hint] satisfies [string, string]]),
  ],
}

/** `fleetshard route`. */
export const route: CommandSpec = {
  path: 'route',
  permission: 'place',
  summary: 'show where a statement would run, and why, without running it',
  user: 'cli',
  args: [{ name: 'statement', doc: 'one statement; - reads it from standard input' }],
  flags: [
    { flags: '-k, --key <key>', doc: 'value of the shard key, as it would be sent beside the statement' },
    {
      flags: '-p, --param <value>',
      doc: 'value of $1, $2, …; null for NULL; may be given several times',
      many: true,
    },
    outputFlag,
  ],
  examples: [
    'route "select * from users where user_id = $1"',
    'route "select * from users where user_id = $1" --param user-123 -o name',
  ],
  async run(context) {
    const { router, config, options, terminal } = context
    const given = options.arg(0)
    const query = given === '-' ? await terminal.readAll() : given
    if (query.trim() === '') throw usage('the statement is empty')
    const key = options.text('key')
    const answer = await router.route({
      query,
      params: options.list('param').map((value) => (value === 'null' ? null : value)),
      ...(key === undefined ? {} : { shard_key: key }),
      options: { keyspace: config.get('keyspace') },
    })
    return printOne(context, answer, view)
  },
}
