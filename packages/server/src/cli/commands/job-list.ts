// `job list`.
import { printList } from '../print.ts'
import { outputFlag, watchFlag, type CommandSpec } from '../spec.ts'
import { jobView } from '../views.ts'
import { printOrWatch } from '../watch.ts'
import { JOB_STATUSES } from '../words.ts'

/** `fleetshard job list`. */
export const jobList: CommandSpec = {
  path: 'job list',
  permission: 'view',
  summary: 'list jobs, newest first',
  user: 'cli',
  flags: [
    { flags: '--status <status>', doc: 'only those in the state', choices: JOB_STATUSES },
    { flags: '--type <type>', doc: 'only those of the type' },
    { flags: '--limit <count>', doc: 'at most so many; 100 if left out' },
    outputFlag,
    watchFlag,
  ],
  run: (call) =>
    printOrWatch(call, async (context) => {
      const { options, admin, config, stop } = context
      const status = options.choice('status', JOB_STATUSES)
      const type = options.text('type')
      const limit = options.int('limit', 1, 1000)
      const { jobs } = await admin.jobs.list(
        {
          // A job says its keyspace itself; the list is narrowed only where somebody asks for one.
          ...(config.isGiven('keyspace') ? { keyspace: config.get('keyspace') } : {}),
          ...(status === undefined ? {} : { status }),
          ...(type === undefined ? {} : { type }),
          ...(limit === undefined ? {} : { limit }),
        },
        { signal: stop },
      )
      return printList(context, jobs, jobView, 'no jobs')
    }),
}
