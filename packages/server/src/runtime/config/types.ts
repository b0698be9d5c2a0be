// The kinds of settings: what each accepts as text or JSON, and what it becomes in the program.

/** Processes and commands that settings are for. `cli` stands for every command that talks to a running fleet. */
export const CONFIG_USERS = ['up', 'router', 'manager', 'worker', 'agent', 'cli'] as const
/** One of {@link CONFIG_USERS}. */
export type ConfigUser = (typeof CONFIG_USERS)[number]

interface SettingBase {
  /** One sentence for --help and the reference. */
  readonly doc: string
  /** Who reads it: the setting is a flag of these commands. */
  readonly usedBy: readonly ConfigUser[]
  /** Short flags per command, without dashes, beside the long one made from the key. */
  readonly aliases?: Partial<Readonly<Record<ConfigUser, readonly string[]>>>
}

interface NumberSetting extends SettingBase {
  readonly default: number | null
  readonly min: number
  readonly max: number
}

/** 0 asks the system for any free port. */
export interface PortSetting extends SettingBase {
  readonly type: 'port'
  readonly default: number
}
/** A whole number. */
export interface IntSetting extends NumberSetting {
  readonly type: 'int'
  readonly unit?: string
}
/** Milliseconds; `1500`, `1500ms`, `1.5s`, `2m` and `1h` are accepted. */
export interface DurationSetting extends NumberSetting {
  readonly type: 'duration'
}
/** Bytes; `4096`, `64kB`, `10MB` and `1GB` are accepted, in powers of 1024 as Postgres has them. */
export interface BytesSetting extends NumberSetting {
  readonly type: 'bytes'
}
/** `true`, `false`, `yes`, `no`, `on`, `off`, `1`, `0`. */
export interface BooleanSetting extends SettingBase {
  readonly type: 'boolean'
  readonly default: boolean
}
/** One of a few words. */
export interface EnumSetting extends SettingBase {
  readonly type: 'enum'
  readonly choices: readonly string[]
  readonly default: string
}
/** Any text, or one of a form. */
export interface StringSetting extends SettingBase {
  readonly type: 'string'
  readonly default: string | null
  /** What the whole value must match. */
  readonly pattern?: RegExp
}
/** A file or directory; relative ones are taken from the working directory. */
export interface PathSetting extends SettingBase {
  readonly type: 'path'
  readonly default: string | null
}
/** An absolute URL of one of the schemes (without colon). A password in it is never printed. */
export interface UrlSetting extends SettingBase {
  readonly type: 'url'
  readonly schemes: readonly string[]
  readonly default: string | null
}
/** Never printed, and never a flag: every user of a machine can read the arguments of its processes. */
export interface SecretSetting extends SettingBase {
  readonly type: 'secret'
  readonly default: null
}

/** One line of the configuration table. */
export type Setting =
  | PortSetting
  | IntSetting
  | DurationSetting
  | BytesSetting
  | BooleanSetting
  | EnumSetting
  | StringSetting
  | PathSetting
  | UrlSetting
  | SecretSetting

/** What any setting may be in the program. */
export type RawValue = string | number | boolean | null

type Parsed<S extends Setting> = S extends { type: 'port' | 'int' | 'duration' | 'bytes' }
  ? number
  : S extends { type: 'boolean' }
    ? boolean
    : S extends { type: 'enum'; choices: readonly (infer Choice)[] }
      ? Choice
      : string

/** The type a setting has in the program; null where it has no default and was not given. */
export type SettingValue<S extends Setting> = Parsed<S> | (S['default'] extends null ? null : never)
