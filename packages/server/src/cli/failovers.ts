// What the commands about leadership share: ordering a promotion, following it, and how a failover looks.
import { FleetError } from '@fleetshard/core'
import type { Failover, PromoteShard } from '@fleetshard/core/contract'
import type { CommandContext } from './context.ts'
import { EXIT, type ExitCode } from './exit-codes.ts'
import type { View } from './output/mod.ts'
import { printOne, printPlan, say } from './print.ts'
import { runSteps } from './progress.ts'
import { dryRunFlag, outputFlag, reasonFlag, type FlagSpec } from './spec.ts'

const pollMs = 100
/** From this state on writes go to the new primary. */
const serving: ReadonlySet<string> = new Set([
  'map_updated',
  'verifying',
  'degraded',
  'rejoining',
  'catching_up',
  'healthy',
  'superseded',
])

/** Flags of commands that order a promotion. */
export const promotionFlags: readonly FlagSpec[] = [
  { flags: '--to <node>', doc: 'id of the node that is to lead; the one that has the most if left out' },
  { flags: '--detach', doc: 'do not wait until it leads' },
  outputFlag,
  dryRunFlag,
  reasonFlag,
]

/** A failover, one by one and in a list. */
export const failoverView: View<Failover> = {
  name: (failover) => failover.id,
  columns: [
    { header: 'ID', cell: (failover) => failover.id, whole: true },
    { header: 'TYPE', cell: (failover) => failover.type },
    { header: 'STATE', cell: (failover) => failover.phase },
    { header: 'FROM', cell: (failover) => failover.from },
    { header: 'TO', cell: (failover) => failover.to },
    { header: 'TERM', cell: (failover) => failover.term, align: 'right' },
    { header: 'CREATED', cell: (failover) => failover.created_at },
  ],
  details: (failover) => [
    ['id', failover.id],
    ['type', failover.forced ? `${failover.type}, forced` : failover.type],
    ['shard', failover.shard_id],
    ['state', `${failover.phase} (${failover.status})`],
    ['from', failover.from],
    ['to', failover.to ?? 'nobody'],
    ['term', String(failover.term ?? 'not raised')],
    ['by', `${failover.by}: ${failover.reason}`],
    ...failover.seen.map((text): [string, string] => ['seen', text]),
    ['proof', failover.proof === null ? 'none' : `${failover.proof.kind}: ${failover.proof.text}`],
    ...failover.candidates.map((one): [string, string] => [
      'candidate',
      `${one.node_id} at ${one.position ?? '?'} on timeline ${String(one.timeline ?? '?')}: ${one.verdict}`,
    ]),
    [
      'may be lost',
      failover.loss_bytes_max === null ? 'not known' : `${String(failover.loss_bytes_max)} bytes of log`,
    ],
    ['write confirmed', failover.verified === null ? 'not yet' : String(failover.verified)],
    ['came back by', failover.rejoined_by ?? ''],
    ['waits for', failover.waits_for ?? ''],
    ...failover.steps.map((step): [string, string] => ['step', `${step.state} ${String(step.ms)} ms`]),
    ['created', failover.created_at],
    ['completed', failover.completed_at ?? ''],
  ],
}

/** Sends the order, or shows what it would do. */
export async function orderPromotion(
  context: CommandContext,
  order: Omit<PromoteShard, 'node_id' | 'reason'>,
): Promise<ExitCode> {
  const { options, admin, change } = context
  const shard = options.arg(0)
  const to = options.text('to')
  const reason = options.text('reason')
  const body: PromoteShard = {
    ...(to === undefined ? {} : { node_id: to }),
    ...order,
    ...(reason === undefined ? {} : { reason }),
  }
  if (options.isSet('dryRun')) {
    const effects = [
      `${to ?? 'the replica that has the most'} would lead shard ${shard}, in the next term`,
      order.force === true
        ? 'the primary would be stopped at once where its agent can be reached; nothing else would be asked for'
        : 'statements would be held for less than a second; the primary would follow as a replica',
    ]
    return printPlan(context, { method: 'POST', path: `/api/v1/shards/${shard}/promote`, body, effects })
  }
  const failover = await admin.shards.promote(shard, body, change)
  if (options.isSet('detach')) {
    const code = printOne(context, failover, failoverView)
    say(context, `fleetshard failover explain ${shard} tells how it went`)
    return code
  }
  return follow(context, failover)
}

async function follow(context: CommandContext, { id, shard_id: shard }: Failover): Promise<ExitCode> {
  const { admin, clock, stop, terminal } = context
  let last: Failover | undefined
  const step = {
    title: `shard ${shard}`,
    async run(sayProgress: (text: string) => void) {
      let said = ''
      for (;;) {
        const { failovers } = await admin.shards.failovers(shard, { signal: stop })
        last = failovers.find((one) => one.id === id)
        if (last === undefined) throw new FleetError('internal', `the failover ${id} is gone`)
        const text = last.waits_for === null ? last.phase : `${last.phase}, waits: ${last.waits_for}`
        if (text !== said) sayProgress(text)
        said = text
        if (serving.has(last.phase) || last.status === 'failed') return
        await clock.sleep(pollMs, stop)
      }
    },
  }
  await runSteps(terminal, [step])
  if (last === undefined) throw new FleetError('internal', 'a failover that was never seen')
  printOne(context, last, failoverView)
  if (last.status !== 'failed') return EXIT.ok
  say(context, `${last.from} leads on: ${last.waits_for ?? 'no reason was given'}`)
  return EXIT.failed
}
