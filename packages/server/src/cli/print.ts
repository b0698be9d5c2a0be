// Printing of results, plans and errors, and the asking before something is deleted: the same for all commands.
import { FleetError } from '@fleetshard/core'
import type { CommandContext } from './context.ts'
import { EXIT, type ExitCode } from './exit-codes.ts'
import { usage } from './options.ts'
import { printable, renderList, renderOne, toJson, toYaml, type Style, type View } from './output/mod.ts'
import type { Terminal } from './terminal.ts'

/** Prints a list in the form asked for; an empty table says so on standard error. */
export function printList<T>(
  context: CommandContext,
  items: readonly T[],
  view: View<T>,
  nothing: string,
): ExitCode {
  const { terminal, output, style } = context
  if (items.length === 0 && (output === 'table' || output === 'wide')) terminal.err(`${nothing}\n`)
  else terminal.out(renderList(items, view, output, { style, cells: terminal.columns() }))
  return EXIT.ok
}

/** Prints one thing in the form asked for. */
export function printOne<T>(context: CommandContext, item: T, view: View<T>): ExitCode {
  const { terminal, output, style } = context
  terminal.out(renderOne(item, view, output, { style, cells: terminal.columns() }))
  return EXIT.ok
}

/** A line for people, on standard error. */
export function say(context: CommandContext, text: string): void {
  context.terminal.err(`${text}\n`)
}

/** What a `--dry-run` shows. */
export interface Plan {
  readonly method: string
  readonly path: string
  readonly body?: unknown
  /** What would come of it, a sentence each. */
  readonly effects: readonly string[]
}

/** Prints the plan instead of carrying it out. Passwords in endpoints are blotted out. */
export function printPlan(context: CommandContext, plan: Plan): ExitCode {
  const { terminal, output, style } = context
  const whole = { dry_run: true, ...plan }
  if (output === 'json') terminal.out(redactEndpoints(toJson(whole)))
  else if (output === 'yaml') terminal.out(redactEndpoints(toYaml(whole)))
  else {
    terminal.out(`${style.bold('would send')} ${plan.method} ${plan.path}\n`)
    if (plan.body !== undefined) terminal.out(redactEndpoints(toJson(plan.body)))
    for (const effect of plan.effects) terminal.out(`- ${effect}\n`)
  }
  return EXIT.ok
}

/**
 * Asks for the name of what is about to be deleted, unless --yes was given.
 * @throws FleetError `invalid_usage` where nobody can be asked, `canceled` when another name is typed
 */
export async function confirmDeletion(context: CommandContext, what: string, name: string): Promise<void> {
  const { options, terminal, stop } = context
  if (options.isSet('yes')) return
  if (!terminal.inIsTerminal) {
    throw usage(`deleting ${what} ${name} needs a yes, and nobody can be asked here`, 'add --yes')
  }
  const typed = await terminal.ask(`type ${name} to delete this ${what}: `, stop)
  if (typed.trim() !== name) throw new FleetError('canceled', 'nothing was deleted: another name was typed')
}

/** Prints an error as `error:` and `hint:` lines. */
export function printError(terminal: Terminal, style: Style, error: FleetError): void {
  terminal.err(`${style.red('error:')} ${printable(error.message)}\n`)
  for (const [name, value] of detailsOf(error)) terminal.err(`${style.dim(`${name}:`)} ${printable(value)}\n`)
}

function detailsOf(error: FleetError): readonly (readonly [string, string])[] {
  const { facts, hint, code } = error
  const lines: [string, string][] = []
  if (hint !== undefined) lines.push(['hint', hint])
  if (code === 'sql_error' || code === 'sql_syntax') lines.push(['sqlstate', error.sqlstate])
  if (code === 'internal' && error.cause instanceof Error) lines.push(['cause', error.cause.message])
  for (const name of ['position', 'pg_detail', 'constraint', 'shard_id', 'trace_id']) {
    const value = facts[name]
    if (value !== undefined && value !== null) lines.push([name, String(value)])
  }
  return lines
}

function redactEndpoints(text: string): string {
  // Greedy: a password with an unescaped @ ends at the last one.
  return text.replaceAll(/(postgres(?:ql)?:\/\/[^:@/\s"]*):[^\s"]*@/g, '$1:***@')
}
