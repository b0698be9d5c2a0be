// `vdiff`.
import type { VdiffJob } from '@fleetshard/core/contract'
import type { CommandContext } from '../context.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { printOne, say } from '../print.ts'
import { runSteps } from '../progress.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'
import { vdiffJobView } from '../views.ts'

const pollMs = 250

/** `fleetshard vdiff`. */
export const vdiff: CommandSpec = {
  path: 'vdiff',
  permission: 'operate',
  summary:
    'compare rows: each on the shard of its key, once, reference tables alike; fails where it is not so',
  user: 'cli',
  flags: [
    { flags: '--table <table>', doc: 'only that table; may be given several times', many: true },
    { flags: '--job <job>', doc: 'compare the sources of a finished split, merge or move with its targets' },
    { flags: '--detach', doc: 'do not wait for the end' },
    outputFlag,
  ],
  run: async (context) => {
    const { admin, config, options, stop } = context
    const tables = options.list('table')
    const job = options.text('job')
    const begun = await admin.vdiff.create(
      {
        keyspace: config.get('keyspace'),
        ...(tables.length === 0 ? {} : { tables: [...tables] }),
        ...(job === undefined ? {} : { job_id: job }),
      },
      { signal: stop },
    )
    return options.isSet('detach') ? printOne(context, begun, vdiffJobView) : follow(context, begun)
  },
}

async function follow(context: CommandContext, begun: VdiffJob): Promise<ExitCode> {
  const { admin, clock, stop, terminal } = context
  let last = begun
  const step = {
    title: `job ${begun.id}`,
    async run(sayProgress: (text: string) => void) {
      while (last.status === 'pending' || last.status === 'running') {
        await clock.sleep(pollMs, stop)
        last = await admin.vdiff.get(begun.id, { signal: stop })
        const waits = last.waits_for === null ? '' : `, waits: ${last.waits_for}`
        sayProgress(`${(last.progress * 100).toFixed(0)}%${waits}`)
      }
    },
  }
  try {
    await runSteps(terminal, [step])
  } catch (error) {
    if (stop.aborted) say(context, `the comparison goes on as job ${begun.id}`)
    throw error
  }
  printOne(context, last, vdiffJobView)
  if (last.status === 'completed' && last.differences === 0) return EXIT.ok
  if (last.status === 'completed') say(context, `${String(last.differences)} rows are not as they should be`)
  else say(context, `job ${last.id} ${last.status}: ${last.error_message ?? ''}`)
  return EXIT.failed
}
