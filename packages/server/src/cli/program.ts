// The commander tree made from the command table: words, flags, help. It parses; what a call means is run.ts' part.
import { Argument, Command, Option, type OutputConfiguration } from 'commander'
import { aliasesOf, displayValue, envOf, expectation, flagOf, keysFor, settingOf } from '../runtime/mod.ts'
import type { ConfigKey, ConfigUser, GivenFlag, Setting } from '../runtime/mod.ts'
import { usage, type RawOptions } from './options.ts'
import { NOUNS, type CommandSpec, type FlagSpec } from './spec.ts'

/** One parsed call. */
export interface Invocation {
  readonly spec: CommandSpec
  readonly args: readonly (string | undefined)[]
  readonly flags: RawOptions
  readonly settings: ReadonlyMap<ConfigKey, GivenFlag>
}

/** Where the tree writes its help. */
export interface ProgramOutput {
  readonly out: (text: string) => void
  /** For the help that is printed because the call was wrong. */
  readonly err: (text: string) => void
  readonly columns: number | undefined
  readonly colours: boolean
}

const settingsGroup = 'Settings (also by environment variable and in the --config file):'
const commandsGroup = 'Commands:'

/**
 * The tree. Parsing calls `onCall` for a command; help and errors are thrown as CommanderError.
 */
export function buildProgram(
  commands: readonly CommandSpec[],
  version: string,
  output: ProgramOutput,
  onCall: (invocation: Invocation) => void,
): Command {
  const program = new Command('fleetshard')
    .description(
      'FleetShard shards PostgreSQL: one command starts a cluster, every query reaches the right shard.',
    )
    .version(version, '-V, --version', 'print the version')
    .configureOutput(outputOf(output))
    .exitOverride()
    .showHelpAfterError(false)
    .helpCommand('help [command]', 'help for a command')
  addGlobalFlags(program)
  const groups = new Map<string, Command>()
  for (const spec of commands) addCommand(program, groups, spec, onCall)
  return program
}

/** The flags of the command for its settings, long and short, in the order of the table. */
export function settingFlags(
  user: ConfigUser,
): readonly { readonly flag: string; readonly key: ConfigKey }[] {
  return keysFor(user)
    .filter((key) => settingOf(key).type !== 'secret')
    .flatMap((key) => [flagOf(key), ...aliasesOf(key, user)].map((flag) => ({ flag, key })))
}

/** `camelCase` of a flag, as commander names its value. */
export function optionName(flag: string): string {
  return new Option(`${flag} <value>`).attributeName()
}

/** The flags that may also stand before the command: `fleetshard --manager-url … shard list`. */
function addGlobalFlags(program: Command): void {
  for (const { flag } of settingFlags('cli')) {
    program.addOption(new Option(`${flag} <value>`).hideHelp())
  }
  program.addOption(new Option('-o, --output <format>').hideHelp())
}

function addCommand(
  program: Command,
  groups: Map<string, Command>,
  spec: CommandSpec,
  onCall: (invocation: Invocation) => void,
): void {
  const words = spec.path.split(' ')
  const parent = words.length > 1 ? groupFor(program, groups, words[0] ?? '') : program
  const command = parent.command(words.at(-1) ?? '', { hidden: spec.hidden === true })
  command
    .summary(spec.summary)
    .description([sentence(spec.summary), ...(spec.details === undefined ? [] : [spec.details])].join('\n\n'))
  command.helpGroup(commandsGroup)
  for (const argument of spec.args ?? []) {
    command.addArgument(
      new Argument(argument.optional === true ? `[${argument.name}]` : `<${argument.name}>`, argument.doc),
    )
  }
  for (const flag of spec.flags ?? []) command.addOption(flagOption(flag))
  for (const { flag, key } of settingFlags(spec.user)) command.addOption(settingOption(flag, key))
  if (spec.examples !== undefined) command.addHelpText('after', examplesText(spec.examples))
  command.action((...given: readonly unknown[]) => {
    onCall(invocationOf(spec, command, given))
  })
}

function groupFor(program: Command, groups: Map<string, Command>, noun: string): Command {
  const known = groups.get(noun)
  if (known !== undefined) return known
  const doc = NOUNS[noun] ?? noun
  const group = program.command(noun).summary(doc).description(sentence(doc)).helpGroup(commandsGroup)
  group.helpCommand(false)
  groups.set(noun, group)
  return group
}

function flagOption(flag: FlagSpec): Option {
  const option = new Option(flag.flags, flag.doc)
  if (flag.choices !== undefined) option.choices([...flag.choices])
  if (flag.required === true) option.makeOptionMandatory()
  if (flag.many === true) {
    option.argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value])
  }
  return option
}

function settingOption(flag: string, key: ConfigKey): Option {
  const setting = settingOf(key)
  const shown = displayValue(setting, setting.default)
  const alias = flag === flagOf(key) ? '' : `short for ${flagOf(key)}; `
  const facts = [
    ...(saysMore(setting) ? [expectation(setting)] : []),
    ...(shown === '' ? [] : [`default ${shown}`]),
    envOf(key),
  ]
  const doc = `${alias}${setting.doc} (${facts.join('; ')})`
  // `--flag` alone means true for a boolean, and `--flag false` is possible.
  return new Option(`${flag} ${setting.type === 'boolean' ? '[value]' : '<value>'}`, doc).helpGroup(
    settingsGroup,
  )
}

/** True when what a value looks like can't be guessed from the doc. */
function saysMore({ type }: Setting): boolean {
  return ['int', 'duration', 'bytes', 'enum'].includes(type)
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

function examplesText(examples: readonly string[]): string {
  return `\nExamples:\n${examples.map((example) => `  fleetshard ${example}\n`).join('')}`
}

function outputOf({ out, err, columns, colours }: ProgramOutput): OutputConfiguration {
  return {
    writeOut: out,
    writeErr: err,
    // Errors are printed by run.ts, all in one form.
    outputError: () => undefined,
    getOutHelpWidth: () => columns ?? 100,
    getErrHelpWidth: () => columns ?? 100,
    getOutHasColors: () => colours,
    getErrHasColors: () => colours,
  }
}

function invocationOf(spec: CommandSpec, command: Command, given: readonly unknown[]): Invocation {
  const count = spec.args?.length ?? 0
  const args = given.slice(0, count).map((value) => (typeof value === 'string' ? value : undefined))
  const own = new Set(command.options.map((option) => option.attributeName()))
  const flags: RawOptions = command.optsWithGlobals()
  for (const option of command.parent === null ? [] : rootOf(command).options) {
    const name = option.attributeName()
    // A global flag that this command does not have would be swallowed without a word.
    if (flags[name] !== undefined && !own.has(name) && name !== 'version') {
      throw usage(
        `${spec.path} does not take ${option.long ?? option.flags}`,
        `fleetshard ${spec.path} --help lists its flags`,
      )
    }
  }
  return { spec, args, flags, settings: givenSettings(spec, flags) }
}

function rootOf(command: Command): Command {
  return command.parent === null ? command : rootOf(command.parent)
}

function givenSettings(spec: CommandSpec, flags: RawOptions): ReadonlyMap<ConfigKey, GivenFlag> {
  const given = new Map<ConfigKey, GivenFlag>()
  for (const { flag, key } of settingFlags(spec.user)) {
    const value = flags[optionName(flag)]
    if (typeof value !== 'string' && typeof value !== 'boolean') continue
    const before = given.get(key)
    if (before !== undefined && before.value !== value)
      throw usage(`${before.flag} and ${flag} say different things`)
    given.set(key, { flag, value })
  }
  return given
}
