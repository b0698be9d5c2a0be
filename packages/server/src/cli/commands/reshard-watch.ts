// `reshard watch`.
import { followReshard } from '../reshard-job.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'

/** `fleetshard reshard watch`. */
export const reshardWatch: CommandSpec = {
  path: 'reshard watch',
  permission: 'view',
  summary: 'follow a split, merge or move to its end',
  user: 'cli',
  args: [{ name: 'job', doc: 'id of the job' }],
  flags: [outputFlag],
  run: (context) => followReshard(context, context.options.arg(0)),
}
