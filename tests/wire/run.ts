// Runs a script on a target and returns what came; also checks it against what the script says must come.
import { RawConnection, cancel, connectionEnd, type Received, type Tap, type Target } from './connection.ts'
import type { Step, WireCase } from './script.ts'

/** What a case needs besides its target. */
export interface Surroundings {
  /** True when the server executes a statement with the text in it, the asking one apart. */
  readonly isRunning: (text: string) => Promise<boolean>
  /** Called for every connection that a case opens. */
  tap?(): Tap
}

/** What a case got: one entry a step that read something. */
export interface Answered {
  readonly greeting: readonly Received[]
  readonly answers: readonly {
    readonly step: number
    readonly want: string
    readonly received: readonly Received[]
  }[]
}

const pollMs = 10
const pollMsMax = 10_000

/** Runs all steps, whatever the answers. */
export async function runCase(target: Target, wireCase: WireCase, around: Surroundings): Promise<Answered> {
  await using stack = new AsyncDisposableStack()
  const sessions = new Map<number, RawConnection>()
  const greetings: (readonly Received[])[] = []
  const session = async (number: number): Promise<RawConnection> => {
    const known = sessions.get(number)
    if (known !== undefined) return known
    const tap = around.tap?.()
    const { connection, greeting } = await RawConnection.open(target, {
      parameters: wireCase.parameters ?? {},
      ...(tap === undefined ? {} : { tap }),
    })
    stack.use(connection)
    sessions.set(number, connection)
    greetings.push(greeting)
    return connection
  }
  const answers: { step: number; want: string; received: readonly Received[] }[] = []
  for (const [index, step] of wireCase.steps.entries()) {
    const received = await runStep(step, { target, around, session })
    if (received !== null && step.kind === 'say') answers.push({ step: index, want: step.answer, received })
  }
  return { greeting: greetings[0] ?? [], answers }
}

async function runStep(
  step: Step,
  parts: {
    readonly target: Target
    readonly around: Surroundings
    session(number: number): Promise<RawConnection>
  },
): Promise<readonly Received[] | null> {
  switch (step.kind) {
    case 'say': {
      const connection = await parts.session(step.session)
      connection.send(step.bytes)
      return step.answer === '' ? null : connection.read(enoughFor(step.answer))
    }
    case 'until-running': {
      const deadline = performance.now() + pollMsMax
      while (!(await parts.around.isRunning(step.text))) {
        if (performance.now() > deadline) throw new Error(`nothing runs that contains ${step.text}`)
        await new Promise((resolve) => setTimeout(resolve, pollMs))
      }
      return null
    }
    case 'cancel':
      await cancel(parts.target, await parts.session(step.session))
      return null
  }
}

/**
 * Reads as many ReadyForQuery as are wanted; where none is, until the last letter wanted came as often as wanted, or
 * an error that nothing follows.
 */
function enoughFor(answer: string): (received: readonly Received[]) => boolean {
  const wanted = answer.replace(/\s|\{\d+\}/g, '')
  const last = wanted.includes('Z') ? 'Z' : (wanted.at(-1) ?? '')
  const count = wanted.split(last).length - 1
  return (received) => {
    const came = received.filter(({ letter }) => letter === last).length
    if (last === connectionEnd) return false
    return came >= count || (last !== 'Z' && received.at(-1)?.letter === 'E')
  }
}

/** Steps whose letters are not those the script wants, in words; empty when all are. */
export function surprises({ answers }: Answered): readonly string[] {
  return answers.flatMap(({ step, want, received }) => {
    const got = received.map(({ letter }) => letter).join('')
    const pattern = new RegExp(`^(?:${want.replace(/\s/g, '')})$`)
    return pattern.test(got)
      ? []
      : [`step ${String(step)}: wanted ${want}, got ${got === '' ? 'nothing' : got}`]
  })
}
