// How a setting is called on each surface: the flag and the environment variable that belong to a key.
import { CONFIG_KEYS, SETTINGS, type ConfigKey } from './table.ts'
import type { ConfigUser, Setting } from './types.ts'

/** Environment variables that begin so are settings, and nothing else. */
export const ENV_PREFIX = 'FLEETSHARD_'

/** `router.http-port` → `--router-http-port`. */
export function flagOf(key: ConfigKey): string {
  return `--${key.replaceAll('.', '-')}`
}

/** `router.http-port` → `FLEETSHARD_ROUTER_HTTP_PORT`. */
export function envOf(key: ConfigKey): string {
  return ENV_PREFIX + key.replaceAll(/[.-]/g, '_').toUpperCase()
}

/** The setting as the general type, for code that goes over all of them. */
export function settingOf(key: ConfigKey): Setting {
  return SETTINGS[key]
}

/** Short flags that the command has for the key, with their dashes. */
export function aliasesOf(key: ConfigKey, user: ConfigUser): readonly string[] {
  return (settingOf(key).aliases?.[user] ?? []).map((name) => `--${name}`)
}

/** The settings that the command reads, in the order of the table. */
export function keysFor(user: ConfigUser): readonly ConfigKey[] {
  return CONFIG_KEYS.filter((key) => settingOf(key).usedBy.includes(user))
}

/** True when the text is the name of a setting. */
export function isConfigKey(text: string): text is ConfigKey {
  return Object.hasOwn(SETTINGS, text)
}
