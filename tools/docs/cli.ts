// docs/reference/cli.md from the command table.
import {
  EXIT,
  EXIT_MEANINGS,
  ROLE_COMMAND_NAMES,
  commandTable,
  settingFlags,
  type CommandSpec,
  type FlagSpec,
  type RoleRunners,
} from '../../packages/server/src/cli/mod.ts'
import { code, generatedFrom, page, table } from './markdown.ts'

const intro = `# Command line

\`fleetshard COMMAND\`; from a clone \`npx fleetshard COMMAND\`. Data goes to standard output, everything else to
standard error. \`-o\` chooses the form: \`table\`, \`wide\` (more columns), \`json\`, \`yaml\`, \`name\` (ids only, for pipes).
Colours show on a terminal only, and never with \`NO_COLOR\` set.

Commands find a cluster that \`fleetshard up\` runs in the same directory by themselves; \`--router-url\` and
\`--manager-url\` name others. All settings are in [configuration](configuration.md).`

/** The page. */
export function cliPage(): string {
  const commands = allCommands()
  return page(
    generatedFrom('packages/server/src/cli'),
    intro,
    '## Exit codes',
    table(
      ['Code', 'Meaning'],
      Object.entries(EXIT_MEANINGS).map(([name, meaning]) => [
        String(EXIT[name as keyof typeof EXIT]),
        meaning,
      ]),
    ),
    '## Commands',
    table(
      ['Command', 'What it does'],
      commands.map((spec) => [`[${code(spec.path)}](#${anchor(spec)})`, spec.summary]),
    ),
    ...commands.map(section),
  )
}

/** The roles' functions are not needed to describe them. */
function allCommands(): readonly CommandSpec[] {
  const runners: RoleRunners = Object.fromEntries(
    ROLE_COMMAND_NAMES.map((name) => [name, () => Promise.resolve(EXIT.ok)]),
  )
  return commandTable(runners).filter(({ hidden }) => hidden !== true)
}

function section(spec: CommandSpec): string {
  const args = (spec.args ?? []).map(({ name, optional }) => (optional === true ? `[${name}]` : `<${name}>`))
  return page(
    `### fleetshard ${spec.path}`,
    `${spec.summary.charAt(0).toUpperCase()}${spec.summary.slice(1)}.`,
    spec.details ?? '',
    `\`\`\`sh\nfleetshard ${[spec.path, ...args, '[flags]'].join(' ')}\n\`\`\``,
    rowsOf(spec).length === 0 ? '' : table(['', ''], rowsOf(spec)),
    settingsOf(spec),
    examplesOf(spec),
  ).trimEnd()
}

function rowsOf(spec: CommandSpec): readonly (readonly string[])[] {
  return [
    ...(spec.args ?? []).map(({ name, doc }) => [code(name), doc]),
    ...(spec.flags ?? []).map((flag) => [code(flag.flags), flagDoc(flag)]),
  ]
}

function flagDoc({ doc, choices, required }: FlagSpec): string {
  const list = choices === undefined ? '' : `: ${choices.map(code).join(', ')}`
  return `${doc}${list}${required === true ? ' (required)' : ''}`
}

function settingsOf(spec: CommandSpec): string {
  return `Settings: ${settingFlags(spec.user)
    .map(({ flag }) => code(flag))
    .join(' ')}`
}

function examplesOf({ examples = [] }: CommandSpec): string {
  if (examples.length === 0) return ''
  return `\`\`\`sh\n${examples.map((example) => `fleetshard ${example}`).join('\n')}\n\`\`\``
}

function anchor({ path }: CommandSpec): string {
  return `fleetshard-${path.replaceAll(' ', '-')}`
}
