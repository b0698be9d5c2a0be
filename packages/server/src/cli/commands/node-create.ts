// `node create`.
import type { CreateNode } from '@fleetshard/core/contract'
import { renderList } from '../output/mod.ts'
import { EXIT } from '../exit-codes.ts'
import { printPlan, say } from '../print.ts'
import { dryRunFlag, outputFlag, reasonFlag, type CommandSpec } from '../spec.ts'
import { nodeView } from '../views.ts'

/** `fleetshard node create`. */
export const nodeCreate: CommandSpec = {
  path: 'node create',
  permission: 'operate',
  summary: 'start a fresh database server on a machine with an agent, for a shard to come',
  user: 'cli',
  flags: [
    { flags: '--replicas <count>', doc: 'replicas beside the primary; 0 if left out' },
    { flags: '--database <name>', doc: 'name of its database' },
    { flags: '--agent <id>', doc: 'the agent that runs it; any if left out' },
    outputFlag,
    dryRunFlag,
    reasonFlag,
  ],
  examples: ['node create --replicas 1'],
  async run(context) {
    const { options, admin, change, terminal, output, style } = context
    const replicas = options.int('replicas', 0, 5)
    const database = options.text('database')
    const agent = options.text('agent')
    const body: CreateNode = {
      embedded: true,
      ...(replicas === undefined ? {} : { replicas }),
      ...(database === undefined ? {} : { database }),
      ...(agent === undefined ? {} : { agent }),
    }
    if (options.isSet('dryRun')) {
      const effects = [
        `${String(1 + (replicas ?? 0))} Postgres servers would be started; no shard would use them yet`,
      ]
      return printPlan(context, { method: 'POST', path: '/api/v1/nodes', body, effects })
    }
    const created = await admin.nodes.create(body, change)
    terminal.out(renderList(created.nodes, nodeView, output, { style, cells: terminal.columns() }))
    say(context, `next: fleetshard shard create NAME --primary ${created.endpoint}`)
    return EXIT.ok
  },
}
