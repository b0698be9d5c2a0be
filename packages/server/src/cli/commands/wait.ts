// `wait`: until the fleet, a job or a shard is as it is wanted.
import { FleetError, isFleetError } from '@fleetshard/core'
import type { CommandContext } from '../context.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { isFinished } from '../job-wait.ts'
import { usage } from '../options.ts'
import { say } from '../print.ts'
import { timeoutFlag, type CommandSpec } from '../spec.ts'
import { SHARD_STATUSES } from '../words.ts'

const timeoutMsDefault = 60_000
const pollMs = 500

/** What one look found. */
type Look =
  | { readonly kind: 'done'; readonly code: ExitCode; readonly text: string }
  | { readonly kind: 'pending'; readonly text: string }

type Goal = (context: CommandContext) => Promise<Look>

/** `fleetshard wait`. */
export const wait: CommandSpec = {
  path: 'wait',
  permission: 'view',
  summary: 'wait until something is so: the fleet is ready, a job has ended, a shard has a state',
  details:
    'Goals: ready (router and manager answer and are ready), job/ID (the job has ended; fails when the job failed), ' +
    'shard/ID (the shard is active), shard/ID=STATUS.',
  user: 'cli',
  flags: [{ flags: '--for <goal>', doc: 'what to wait for', required: true }, timeoutFlag],
  examples: ['wait --for=ready --timeout 30s', 'wait --for=job/j-1a2b', 'wait --for=shard/s-1a2b=active'],
  async run(context) {
    const { options, clock, stop } = context
    const goal = goalOf(options.textRequired('for'))
    const timeoutMs = options.durationMs('timeout') ?? timeoutMsDefault
    const deadlineMs = clock.monotonic() + timeoutMs
    for (;;) {
      const look = await lookBound(goal, context)
      if (look.kind === 'done') {
        say(context, look.text)
        return look.code
      }
      if (clock.monotonic() >= deadlineMs) {
        throw new FleetError('deadline_exceeded', `not so after ${String(timeoutMs / 1000)} s: ${look.text}`)
      }
      await clock.sleep(pollMs, stop)
    }
  },
}

function goalOf(text: string): Goal {
  const [, kind = '', id = '', state] = /^(ready|job|shard)(?:\/([^=]+))?(?:=(.+))?$/.exec(text) ?? []
  if (kind === 'ready' && id === '' && state === undefined) return lookReady
  if (kind === 'job' && id !== '' && state === undefined) return (context) => lookJob(context, id)
  if (kind === 'shard' && id !== '') {
    const wanted = SHARD_STATUSES.find((status) => status === (state ?? 'active'))
    if (wanted !== undefined) return (context) => lookShard(context, id, wanted)
  }
  throw usage(`${text} is nothing to wait for`, 'goals are ready, job/ID, shard/ID and shard/ID=STATUS')
}

/** A server that does not answer now may answer at the next look. */
async function lookBound(goal: Goal, context: CommandContext): Promise<Look> {
  try {
    return await goal(context)
  } catch (error) {
    if (isFleetError(error) && error.retryable && !context.stop.aborted)
      return { kind: 'pending', text: error.message }
    throw error
  }
}

async function lookReady(context: CommandContext): Promise<Look> {
  const manager = await context.admin.ready({ signal: context.stop })
  if (manager.status !== 'ready') return { kind: 'pending', text: `the manager is ${manager.status}` }
  const router = await context.router.ready()
  return router.ok
    ? { kind: 'done', code: EXIT.ok, text: 'ready' }
    : { kind: 'pending', text: 'the router is not ready' }
}

async function lookJob({ admin, stop }: CommandContext, id: string): Promise<Look> {
  const job = await admin.jobs.get(id, { signal: stop })
  if (!isFinished(job)) return { kind: 'pending', text: `job ${id} is ${job.status} (${job.phase})` }
  const text =
    job.error_message === null ? `job ${id} ${job.status}` : `job ${id} ${job.status}: ${job.error_message}`
  return { kind: 'done', code: job.status === 'completed' ? EXIT.ok : EXIT.failed, text }
}

async function lookShard({ admin, stop }: CommandContext, id: string, wanted: string): Promise<Look> {
  const shard = await admin.shards.get(id, { signal: stop })
  const text = `shard ${id} is ${shard.status}`
  return shard.status === wanted ? { kind: 'done', code: EXIT.ok, text } : { kind: 'pending', text }
}
