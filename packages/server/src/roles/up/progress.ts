// How `up` tells of its start: on its own terminal, or to the process that started it in the background.
import { Type, type Static } from 'typebox'
import { Value } from 'typebox/value'
import { toFleetError } from '@fleetshard/core'
import { runSteps, type CommandContext } from '../../cli/mod.ts'

/** The steps of a start, in order; the process in front and the one in the background both know them. */
export const START_STEPS = [
  'Postgres servers',
  'manager, router and worker',
  'keyspace and shards',
] as const satisfies readonly string[]

/** Runs one step; `say` tells how far it is. */
export type StepWork = (say: (text: string) => void) => Promise<void>

const StepNumber = Type.Integer({ minimum: 0, maximum: START_STEPS.length - 1 })
const StartMessageSchema = Type.Union([
  Type.Object({ kind: Type.Literal('say'), step: StepNumber, text: Type.String({ maxLength: 1000 }) }),
  Type.Object({ kind: Type.Literal('done'), step: StepNumber }),
  Type.Object({ kind: Type.Literal('ready') }),
  Type.Object({
    kind: Type.Literal('failed'),
    code: Type.String(),
    message: Type.String(),
    hint: Type.Union([Type.String(), Type.Null()]),
  }),
])

/** What the process in the background tells. */
export type StartMessage = Static<typeof StartMessageSchema>

/** The message, or null for anything else that comes through the channel. */
export function parseStartMessage(received: unknown): StartMessage | null {
  return Value.Check(StartMessageSchema, received) ? received : null
}

/** Does the steps in order and tells of them; the first failure ends it. */
export async function runStart(
  context: CommandContext,
  work: readonly [StepWork, StepWork, StepWork],
): Promise<void> {
  const listener = startListener()
  const steps = START_STEPS.map((title, step) => ({
    title,
    async run(say: (text: string) => void): Promise<void> {
      await work[step]?.((text) => {
        say(text)
        void listener?.({ kind: 'say', step, text })
      })
      await listener?.({ kind: 'done', step })
    },
  }))
  try {
    await runSteps(context.terminal, steps)
  } catch (error) {
    const { code, message, hint = null } = toFleetError(error)
    await listener?.({ kind: 'failed', code, message, hint })
    throw error
  }
}

/** Tells the process in front, if there is one, that the cluster is ready. */
export async function tellReady(): Promise<void> {
  await startListener()?.({ kind: 'ready' })
}

/** Sends to the process that started us with a channel; null when none did, or it is gone. Never fails. */
function startListener(): ((message: StartMessage) => Promise<void>) | null {
  if (process.send === undefined || !process.connected) return null
  return (message) =>
    new Promise((resolve) => {
      if (!process.connected || process.send === undefined) {
        resolve()
        return
      }
      process.send(message, undefined, undefined, () => {
        resolve()
      })
    })
}
