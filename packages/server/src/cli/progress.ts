// Progress of work with several steps: drawn by listr2 on a terminal, plain lines elsewhere. Standard error only.
import type { Terminal } from './terminal.ts'

/** One step of some work. */
export interface Step {
  readonly title: string
  /** `say` shows a short text behind the title while the step goes on. */
  readonly run: (say: (text: string) => void) => Promise<void>
}

/** Runs the steps one after the other; the first failure ends it and is thrown as it is. */
export async function runSteps(terminal: Terminal, steps: readonly Step[]): Promise<void> {
  if (terminal.drawing !== null) return drawSteps(terminal.drawing, steps)
  for (const { title, run } of steps) {
    terminal.err(`${title} …\n`)
    await run((text) => {
      terminal.err(`  ${text}\n`)
    })
  }
}

async function drawSteps(stream: NodeJS.WriteStream, steps: readonly Step[]): Promise<void> {
  const { Listr, ListrLogger, ProcessOutput } = await import('listr2') // servers never draw: it is memory to them
  const list = new Listr(
    steps.map(({ title, run }) => ({
      title,
      task: (_context: unknown, task: { title: string }) =>
        run((text) => {
          task.title = `${title}: ${text}`
        }),
    })),
    {
      renderer: 'default',
      // Signals are main's; listr2 would end the process by itself.
      registerSignalListeners: false,
      rendererOptions: {
        collapseErrors: false,
        showErrorMessage: false,
        logger: new ListrLogger({ processOutput: new ProcessOutput(stream, stream) }),
      },
    },
  )
  await list.run()
}
