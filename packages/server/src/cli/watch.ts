// `--watch`: prints the same thing again and again until Ctrl-C, on a terminal in place.
import type { CommandContext } from './context.ts'
import { EXIT, type ExitCode } from './exit-codes.ts'

/** Between two looks. */
export const watchIntervalMs = 2000
const clearScreen = '\u001b[H\u001b[2J'

/**
 * Runs `print` once, or with --watch every two seconds until stopped: then the code is `interrupted`, or until nobody
 * reads any more. Off a terminal a text is printed again only when it has changed.
 */
export async function printOrWatch(
  context: CommandContext,
  print: (context: CommandContext) => Promise<ExitCode>,
): Promise<ExitCode> {
  if (!context.options.isSet('watch')) return print(context)
  let last = ''
  while (!context.stop.aborted && context.terminal.outError() === null) {
    const { text, code } = await captured(context, print)
    if (text !== last || code !== EXIT.ok)
      context.terminal.out(context.terminal.outIsTerminal ? clearScreen + text : text)
    last = text
    await context.clock.sleep(watchIntervalMs, context.stop).catch(() => undefined)
  }
  return context.stop.aborted ? EXIT.interrupted : EXIT.ok
}

/** What `print` writes to standard output, collected so that the screen changes at once. */
async function captured(
  context: CommandContext,
  print: (context: CommandContext) => Promise<ExitCode>,
): Promise<{ readonly text: string; readonly code: ExitCode }> {
  const parts: string[] = []
  const out = (text: string): void => {
    parts.push(text)
  }
  const code = await print(context.withTerminal({ ...context.terminal, out }))
  return { text: parts.join(''), code }
}
