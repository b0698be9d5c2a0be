// docs/reference/configuration.md from the configuration table.
import {
  CONFIG_KEYS,
  aliasesOf,
  displayValue,
  envOf,
  expectation,
  flagOf,
  settingOf,
  type ConfigKey,
} from '../../packages/server/src/runtime/mod.ts'
import { code, generatedFrom, page, table } from './markdown.ts'

const intro = `# Configuration

Every setting has one name. A flag outranks an environment variable, which outranks the JSON file, which outranks the
default. \`fleetshard config show\` prints what is in force and where each value came from.

- Flag: the name with dashes, \`--router-http-port 8080\`. Some commands have a shorter one as well.
- Environment variable: \`FLEETSHARD_ROUTER_HTTP_PORT=8080\`. A variable that begins with \`FLEETSHARD_\` and is no setting
  is an error, but for those that Kubernetes sets for a service.
- File: \`--config fleetshard.json\` with \`{"router": {"http-port": 8080}}\` or \`{"router.http-port": 8080}\`. Relative paths
  in it are taken from where the file lies.

Times take \`ms\`, \`s\`, \`m\`, \`h\` (a bare number is milliseconds); sizes take \`kB\`, \`MB\`, \`GB\` in powers of 1024.
Secrets are no flags, since every user of a machine can read the arguments of its processes.`

/** The page. */
export function configurationPage(): string {
  return page(
    generatedFrom('packages/server/src/runtime/config/table.ts'),
    intro,
    ...groups().flatMap(([title, keys]) => [`## ${title}`, ...keys.map(section)]),
  )
}

/** Keys by the part before the dot; those without one come first. */
function groups(): readonly (readonly [string, readonly ConfigKey[]])[] {
  const found = new Map<string, ConfigKey[]>([['General', []]])
  for (const key of CONFIG_KEYS) {
    const prefix = key.includes('.') ? (key.split('.')[0] ?? '') : 'General'
    found.set(prefix, [...(found.get(prefix) ?? []), key])
  }
  return [...found]
}

function section(key: ConfigKey): string {
  const setting = settingOf(key)
  const aliases = setting.usedBy.flatMap((user) =>
    aliasesOf(key, user).map((alias) => `${code(alias)} of ${code(user === 'cli' ? 'commands' : user)}`),
  )
  const shown = displayValue(setting, setting.default)
  const rows = [
    ['Flag', setting.type === 'secret' ? 'none: it is a secret' : code(flagOf(key))],
    ...(aliases.length === 0 ? [] : [['Short', aliases.join(', ')]]),
    ['Environment', code(envOf(key))],
    ['Value', 'unit' in setting ? `${expectation(setting)} (${setting.unit})` : expectation(setting)],
    ['Default', shown === '' ? 'none' : code(shown)],
    ['Used by', setting.usedBy.map((user) => (user === 'cli' ? 'commands' : code(user))).join(', ')],
  ]
  return page(`### ${code(key)}`, setting.doc, table(['', ''], rows)).trimEnd()
}
