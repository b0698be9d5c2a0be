// `failover explain`.
import { failoverView } from '../failovers.ts'
import { printList, printOne, say } from '../print.ts'
import { outputFlag, watchFlag, type CommandSpec } from '../spec.ts'
import { printOrWatch } from '../watch.ts'

/** `fleetshard failover explain`. */
export const failoverExplain: CommandSpec = {
  path: 'failover explain',
  permission: 'view',
  summary: 'tell what became of the last failover of a shard, also of one that did not happen',
  user: 'cli',
  args: [{ name: 'shard', doc: 'id of the shard' }],
  flags: [{ flags: '--all', doc: 'list all of them' }, outputFlag, watchFlag],
  examples: ['failover explain shard-01', 'failover explain shard-01 --all'],
  run: (call) =>
    printOrWatch(call, async (context) => {
      const { options, admin, stop } = context
      const found = await admin.shards.failovers(options.arg(0), { signal: stop })
      const [last] = found.failovers
      const quorum =
        found.quorum === null || found.quorum.required === 0
          ? 'commits wait for no replica'
          : `commits wait for ${String(found.quorum.required)} of ${found.quorum.members.join(', ')}`
      say(
        context,
        `${found.primary ?? 'nobody'} leads in term ${String(found.term)}; ${found.durability}: ${quorum}`,
      )
      for (const limit of found.limits) say(context, limit)
      if (options.isSet('all') || last === undefined) {
        return printList(context, found.failovers, failoverView, 'there was no failover')
      }
      return printOne(context, last, failoverView)
    }),
}
