// Waiting for a job to end, with its progress shown; Ctrl-C leaves the job alone and says how to follow it.
import { FleetError } from '@fleetshard/core'
import type { Job } from '@fleetshard/core/contract'
import type { CommandContext } from './context.ts'
import { say } from './print.ts'
import { runSteps } from './progress.ts'

/** Between two looks at a job. */
const pollMs = 500

/** True when nothing comes any more. */
export function isFinished(job: Job): boolean {
  return job.status === 'completed' || job.status === 'failed' || job.status === 'cancelled'
}

/** The job once it has ended. @throws FleetError `deadline_exceeded`, `canceled` (the job goes on in both cases) */
export async function finishJob(context: CommandContext, id: string, timeoutMs: number): Promise<Job> {
  const { admin, clock, stop, terminal } = context
  const deadlineMs = clock.monotonic() + timeoutMs
  let last: Job | undefined
  const waiting = {
    title: `job ${id}`,
    async run(sayProgress: (text: string) => void) {
      for (;;) {
        const job = await admin.jobs.get(id, { signal: stop })
        if (job.phase !== last?.phase || job.progress !== last.progress) {
          sayProgress(`${job.phase} ${(job.progress * 100).toFixed(0)}%`)
        }
        last = job
        if (isFinished(job)) return
        if (clock.monotonic() >= deadlineMs) throw notInTime(id)
        await clock.sleep(pollMs, stop)
      }
    },
  }
  try {
    await runSteps(terminal, [waiting])
  } catch (error) {
    if (stop.aborted) say(context, `the job goes on; fleetshard job get ${id} --watch follows it`)
    throw error
  }
  if (last === undefined) throw notInTime(id)
  return last
}

function notInTime(id: string): FleetError {
  return new FleetError('deadline_exceeded', `job ${id} has not ended in the time given`, {
    hint: `the job goes on; fleetshard job get ${id} --watch follows it`,
  })
}
