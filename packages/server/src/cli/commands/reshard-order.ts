// `reshard pause`, `resume`, `cancel`, `reverse`, `complete`: what an operator wants of a job, obeyed at its next step.
import type { ReshardJob } from '@fleetshard/core/contract'
import type { CommandContext } from '../context.ts'
import { printOne } from '../print.ts'
import { outputFlag, reasonFlag, type CommandSpec } from '../spec.ts'
import { followReshard } from '../reshard-job.ts'
import { reshardJobView } from '../views.ts'

function order(
  word: string,
  summary: string,
  send: (context: CommandContext, id: string) => Promise<ReshardJob>,
): CommandSpec {
  return {
    permission: 'operate',
    path: `reshard ${word}`,
    summary,
    user: 'cli',
    args: [{ name: 'job', doc: 'id of the job' }],
    flags: [outputFlag, reasonFlag],
    run: async (context) => printOne(context, await send(context, context.options.arg(0)), reshardJobView),
  }
}

/** `fleetshard reshard pause`. */
export const reshardPause = order(
  'pause',
  'let a job rest; the sources go on holding log for it',
  ({ admin, change }, id) => admin.reshard.pause(id, change),
)
/** `fleetshard reshard resume`. */
export const reshardResume = order('resume', 'let a paused job go on', ({ admin, change }, id) =>
  admin.reshard.resume(id, change),
)
/** `fleetshard reshard cancel`. */
export const reshardCancel = order(
  'cancel',
  'give a job up before its cutover; the targets are emptied',
  ({ admin, change }, id) => admin.reshard.cancel(id, change),
)
/** `fleetshard reshard reverse`. */
export const reshardReverse: CommandSpec = {
  ...order('reverse', 'bring the rows of a job back, by another cutover', ({ admin, change }, id) =>
    admin.reshard.reverse(id, change),
  ),
  details:
    'As long as a job is reversible, its targets stream what is written on them back to the sources, so nothing that was ' +
    'written since the cutover is lost. The targets are emptied afterwards.',
  flags: [{ flags: '--detach', doc: 'do not wait for the end' }, outputFlag, reasonFlag],
  run: async (context) => {
    const { admin, change, options } = context
    const job = await admin.reshard.reverse(options.arg(0), change)
    return options.isSet('detach') ? printOne(context, job, reshardJobView) : followReshard(context, job.id)
  },
}
/** `fleetshard reshard complete`. */
export const reshardComplete = order(
  'complete',
  'give the way back of a job up before its time; the rows stay where they are',
  ({ admin, change }, id) => admin.reshard.complete(id, change),
)
