// `job get`.
import { printOne } from '../print.ts'
import { outputFlag, watchFlag, type CommandSpec } from '../spec.ts'
import { jobView } from '../views.ts'
import { printOrWatch } from '../watch.ts'

/** `fleetshard job get`. */
export const jobGet: CommandSpec = {
  path: 'job get',
  permission: 'view',
  summary: 'show one job',
  user: 'cli',
  args: [{ name: 'id', doc: 'id of the job' }],
  flags: [outputFlag, watchFlag],
  run: (call) =>
    printOrWatch(call, async (context) => {
      const job = await context.admin.jobs.get(context.options.arg(0), { signal: context.stop })
      return printOne(context, job, jobView)
    }),
}
