// The settings in force: read once at the start of a process from flags, environment, file and defaults, in that
// order of precedence. Each value remembers where it came from.
import { didYouMean, FleetError } from '@fleetshard/core'
import { readFileSync } from 'node:fs'
import { isServiceLink, type Environment } from './environment.ts'
import { configFileBytesMax, parseConfigFile } from './json-file.ts'
import { ENV_PREFIX, envOf, flagOf, isConfigKey, settingOf } from './names.ts'
import { badValue, displayValue, parseValue, safeValue } from './parse.ts'
import { CONFIG_KEYS, type ConfigKey, type ConfigValue } from './table.ts'
import type { RawValue } from './types.ts'

/** Where a value came from. */
export type ConfigSource =
  | { readonly kind: 'flag'; readonly flag: string }
  | { readonly kind: 'env'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string; readonly line: number }
  | { readonly kind: 'default' }

interface Entry {
  readonly value: RawValue
  readonly source: ConfigSource
}

/** A setting as `config show` prints it: no secrets. */
export interface ConfigLine {
  readonly key: ConfigKey
  readonly value: RawValue
  /** The value with its unit. */
  readonly shown: string
  readonly source: string
}

/** The settings of this process; immutable. */
export class Config {
  readonly #entries: ReadonlyMap<ConfigKey, Entry>

  /** Use {@link loadConfig}. */
  constructor(entries: ReadonlyMap<ConfigKey, Entry>) {
    this.#entries = entries
  }

  /** The value in force; null where there is neither a value nor a default. */
  get<K extends ConfigKey>(key: K): ConfigValue<K> {
    // The parser of the setting's type made the value, so its type follows from the key.
    return this.#entry(key).value as ConfigValue<K>
  }

  /** Where the value came from. */
  source(key: ConfigKey): ConfigSource {
    return this.#entry(key).source
  }

  /** True when somebody gave the value, by whatever way. */
  isGiven(key: ConfigKey): boolean {
    return this.source(key).kind !== 'default'
  }

  /** The flag by which the value was given, as it was typed, else null. */
  flagGiven(key: ConfigKey): string | null {
    const source = this.source(key)
    return source.kind === 'flag' ? source.flag : null
  }

  /** These settings with some replaced, the others as they are; for parts that `up` starts with chosen ports. */
  with(values: { readonly [K in ConfigKey]?: ConfigValue<K> }): Config {
    const entries = new Map(this.#entries)
    for (const [key, value] of Object.entries(values)) {
      if (isConfigKey(key)) entries.set(key, { value, source: this.source(key) })
    }
    return new Config(entries)
  }

  /** All settings without their secrets, in the order of the table. */
  lines(): readonly ConfigLine[] {
    return CONFIG_KEYS.map((key) => {
      const { value, source } = this.#entry(key)
      const setting = settingOf(key)
      return {
        key,
        value: safeValue(setting, value),
        shown: displayValue(setting, value),
        source: describeSource(source),
      }
    })
  }

  #entry(key: ConfigKey): Entry {
    return this.#entries.get(key) ?? { value: settingOf(key).default, source: { kind: 'default' } }
  }
}

/** A flag as it was typed, and its text (true or false for those without one). */
export interface GivenFlag {
  readonly flag: string
  readonly value: string | boolean
}

/** What {@link loadConfig} reads from. */
export interface ConfigInput {
  readonly env: Environment
  readonly flags?: ReadonlyMap<ConfigKey, GivenFlag>
  /** Directory that relative paths of flags and variables are taken from; the working directory by default. */
  readonly cwd?: string
  /** Reads the configuration file; the file system by default. */
  readonly readFile?: (path: string) => string
}

/**
 * The settings in force.
 * @throws FleetError `invalid_config` that names the flag, the variable or the line
 */
export function loadConfig(input: ConfigInput): Config {
  const cwd = input.cwd ?? process.cwd()
  const entries = new Map<ConfigKey, Entry>()
  readFlags(input.flags ?? new Map(), cwd, entries)
  readVariables(input.env, cwd, entries)
  const file = entries.get('config')?.value
  if (typeof file === 'string') readFile(file, input.readFile ?? readConfigFile, entries)
  return new Config(entries)
}

/** `flag --http-port`, `env FLEETSHARD_X`, `file a.json:3`, `default`. */
export function describeSource(source: ConfigSource): string {
  switch (source.kind) {
    case 'flag':
      return `flag ${source.flag}`
    case 'env':
      return `env ${source.name}`
    case 'file':
      return `file ${source.path}:${String(source.line)}`
    case 'default':
      return 'default'
  }
}

function readFlags(flags: ReadonlyMap<ConfigKey, GivenFlag>, cwd: string, into: Map<ConfigKey, Entry>): void {
  for (const [key, { flag, value }] of flags) {
    const setting = settingOf(key)
    const parsed = parseValue(setting, value, cwd)
    if (parsed === undefined) throw badValue(setting, value, flag)
    into.set(key, { value: parsed, source: { kind: 'flag', flag } })
  }
}

function readVariables(env: Environment, cwd: string, into: Map<ConfigKey, Entry>): void {
  const keys = new Map(CONFIG_KEYS.map((key) => [envOf(key), key]))
  for (const [name, text] of Object.entries(env)) {
    if (text === undefined || text === '' || !name.startsWith(ENV_PREFIX) || isServiceLink(name, text))
      continue
    const key = keys.get(name)
    if (key === undefined) {
      throw new FleetError('invalid_config', `the environment variable ${name} is not a setting`, {
        hint:
          // Without the part that all have in common, which would make any two of them look alike.
          didYouMean(
            name.slice(ENV_PREFIX.length),
            [...keys.keys()].map((known) => known.slice(ENV_PREFIX.length)),
            ENV_PREFIX,
          ) ?? `names that begin with ${ENV_PREFIX} are settings; unset ${name}`,
      })
    }
    const parsed = parseValue(settingOf(key), text, cwd)
    if (parsed === undefined) throw badValue(settingOf(key), text, name)
    if (!into.has(key)) into.set(key, { value: parsed, source: { kind: 'env', name } })
  }
}

function readFile(path: string, read: (path: string) => string, into: Map<ConfigKey, Entry>): void {
  for (const { key, value, line } of parseConfigFile(path, read(path))) {
    const where = `${path}, line ${String(line)}: ${key}`
    if (!isConfigKey(key) || key === 'config') {
      throw new FleetError('invalid_config', `${where} is not a setting of a file`, {
        hint: didYouMean(key, CONFIG_KEYS) ?? 'fleetshard config show lists the settings',
      })
    }
    if (value === null) continue
    // Paths in a file are meant from where the file lies, wherever the process was started.
    const parsed = parseValue(settingOf(key), value, directoryOf(path))
    if (parsed === undefined) throw badValue(settingOf(key), value, where)
    if (!into.has(key)) into.set(key, { value: parsed, source: { kind: 'file', path, line } })
  }
}

function directoryOf(path: string): string {
  const end = path.lastIndexOf('/')
  return end > 0 ? path.slice(0, end) : '/'
}

function readConfigFile(path: string): string {
  try {
    const bytes = readFileSync(path)
    if (bytes.length <= configFileBytesMax) return bytes.toString('utf8')
  } catch (error) {
    throw new FleetError(
      'invalid_config',
      `the configuration file ${path} cannot be read: ${reasonOf(error)}`,
      {
        hint: `check ${flagOf('config')} and ${envOf('config')}`,
        cause: error,
      },
    )
  }
  throw new FleetError(
    'invalid_config',
    `the configuration file ${path} is larger than ${String(configFileBytesMax)} bytes`,
  )
}

function reasonOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}
