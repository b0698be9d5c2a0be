// One call of the command line, from the words to the exit code. Every outcome passes here: results, help, usage
// errors, errors of the fleet, interruption.
import { toFleetError, type FleetError } from '@fleetshard/core'
import { CommanderError } from 'commander'
import { loadConfig } from '../runtime/mod.ts'
import { createContext, type CliDependencies } from './context.ts'
import { EXIT, exitCodeOf, type ExitCode } from './exit-codes.ts'
import { Options, usage } from './options.ts'
import { styleFor } from './output/mod.ts'
import { printError } from './print.ts'
import { buildProgram, type Invocation } from './program.ts'
import type { CommandSpec } from './spec.ts'

/** Runs the command that the words name. Never throws: errors are printed and become the exit code. */
export async function runCli(
  commands: readonly CommandSpec[],
  words: readonly string[],
  dependencies: CliDependencies,
): Promise<ExitCode> {
  try {
    const invocation = parse(commands, words, dependencies)
    return invocation === null ? EXIT.ok : await call(invocation, dependencies)
  } catch (error) {
    return report(error, dependencies)
  }
}

/** The call; null when help or the version was asked for and printed. @throws FleetError `invalid_usage` */
function parse(
  commands: readonly CommandSpec[],
  words: readonly string[],
  { terminal, version, env }: CliDependencies,
): Invocation | null {
  let found: Invocation | null = null
  const output = {
    out: terminal.out,
    err: terminal.err,
    columns: terminal.columns(),
    colours: styleFor(terminal.outIsTerminal, env).bold('x') !== 'x',
  }
  const program = buildProgram(commands, version, output, (invocation) => {
    found = invocation
  })
  if (words.length === 0) {
    program.outputHelp()
    return null
  }
  try {
    program.parse([...words], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return found
    throw error.code === 'commander.help'
      ? usage('a command is missing', helpHint(commands, words))
      : usageOf(error, helpHint(commands, words))
  }
  return found
}

async function call(
  { spec, args, flags, settings }: Invocation,
  dependencies: CliDependencies,
): Promise<ExitCode> {
  const config = loadConfig({ env: dependencies.env, flags: settings, cwd: dependencies.cwd })
  return spec.run(createContext(dependencies, config, new Options(args, flags)))
}

/** Commander's words, `error: unknown command 'stauts'\n(Did you mean status?)`, in our form. */
function usageOf(error: CommanderError, otherwise: string): FleetError {
  const [first = '', ...rest] = error.message.split('\n')
  const suggestion = /^\((.*)\)$/.exec(rest.join(' ').trim())?.[1]
  const hint = suggestion === undefined ? otherwise : suggestion.replace(/^D/, 'd')
  return usage(first.replace(/^error: /, ''), hint)
}

/** Names the help of the command that was meant, or of the nearest that exists. */
function helpHint(commands: readonly CommandSpec[], words: readonly string[]): string {
  const paths = commands.map(({ path }) => path)
  const isKnown = (path: string): boolean =>
    paths.some((known) => known === path || known.startsWith(`${path} `))
  const at = words.findIndex(isKnown)
  const path = words.slice(Math.max(at, 0), at + 2).join(' ')
  const meant = isKnown(path) ? [path] : words.slice(Math.max(at, 0), at + 1)
  return `fleetshard ${[...meant, '--help'].join(' ')} lists what there is`
}

function report(thrown: unknown, { terminal, env, stop }: CliDependencies): ExitCode {
  if (stop.aborted) {
    terminal.err('interrupted\n')
    return EXIT.interrupted
  }
  const error = toFleetError(thrown)
  printError(terminal, styleFor(terminal.errIsTerminal, env), error)
  return exitCodeOf(error)
}
