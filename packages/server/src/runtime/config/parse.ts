// From text or JSON to the value of a setting, and back to text without its secrets.
import { assertNever, FleetError } from '@fleetshard/core'
import { resolve } from 'node:path'
import type { RawValue, Setting } from './types.ts'

const MS_PER: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000 }
const BYTES_PER: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1024,
  kib: 1024,
  mb: 1024 ** 2,
  mib: 1024 ** 2,
  gb: 1024 ** 3,
  gib: 1024 ** 3,
}
const portMax = 65_535

/** What a setting takes, in words, for messages and the reference. */
export function expectation(setting: Setting): string {
  switch (setting.type) {
    case 'port':
      return `a port from 0 to ${String(portMax)}`
    case 'int':
      return `a whole number from ${String(setting.min)} to ${String(setting.max)}`
    case 'duration':
      return `a time from ${formatDuration(setting.min)} to ${formatDuration(setting.max)}, such as 1500, 1500ms, 2s, 1m`
    case 'bytes':
      return `a size from ${formatBytes(setting.min)} to ${formatBytes(setting.max)}, such as 4096, 64kB, 10MB`
    case 'boolean':
      return 'true or false'
    case 'enum':
      return `one of ${setting.choices.join(', ')}`
    case 'string':
      return setting.pattern === undefined ? 'a text' : `a text that matches ${setting.pattern.source}`
    case 'path':
      return 'a path'
    case 'url':
      return `a URL that begins with ${setting.schemes.map((scheme) => `${scheme}://`).join(' or ')}`
    case 'secret':
      return 'a text'
    default:
      return assertNever(setting)
  }
}

/**
 * The value that a JSON value or a text from a flag or variable stands for; undefined when it stands for none.
 * Relative paths are taken from `cwd`.
 */
export function parseValue(setting: Setting, given: unknown, cwd: string): RawValue | undefined {
  switch (setting.type) {
    case 'port':
      return wholeNumber(given, 0, portMax)
    case 'int':
      return wholeNumber(given, setting.min, setting.max)
    case 'duration':
      return within(measure(given, MS_PER), setting.min, setting.max)
    case 'bytes':
      return within(measure(given, BYTES_PER), setting.min, setting.max)
    case 'boolean':
      return parseBoolean(given)
    case 'enum':
      return setting.choices.find((choice) => choice === given)
    case 'string':
      return text(given, setting.pattern)
    case 'path':
      return parsePath(given, cwd)
    case 'url':
      return parseUrl(given, setting.schemes)
    case 'secret':
      return text(given)
    default:
      return assertNever(setting)
  }
}

/** The value as people may see it: durations and sizes with their unit, no secret. */
export function displayValue(setting: Setting, value: RawValue): string {
  if (value === null) return ''
  if (setting.type === 'secret') return '***'
  if (setting.type === 'url') return redactUrl(String(value))
  if (setting.type === 'duration') return formatDuration(Number(value))
  if (setting.type === 'bytes') return formatBytes(Number(value))
  return String(value)
}

/** The value as JSON may show it: numbers stay numbers, no secret. */
export function safeValue(setting: Setting, value: RawValue): RawValue {
  if (value === null) return null
  if (setting.type === 'secret') return '***'
  return setting.type === 'url' ? redactUrl(String(value)) : value
}

/** The URL with `***` for its password; a text that is no URL becomes `***` whole. */
export function redactUrl(url: string): string {
  const { url: plain, further } = withoutFurtherHosts(url)
  const parsed = URL.parse(plain)
  if (parsed === null) return '***'
  if (parsed.password !== '') parsed.password = '***'
  for (const name of parsed.searchParams.keys()) {
    if (/password|secret|token/i.test(name)) parsed.searchParams.set(name, '***')
  }
  return parsed.href.replace(parsed.host, () => parsed.host + further)
}

/** `etcd://a:2379,b:2379` without `,b:2379`: several hosts are not a URL to the platform's parser. */
function withoutFurtherHosts(url: string): { readonly url: string; readonly further: string } {
  const [whole = '', first = '', further = ''] =
    /^([a-z+]+:\/\/(?:[^/?#@]*@)?[^/?#,@]*)((?:,[^/?#,@]+)+)(?=[/?#]|$)/.exec(url) ?? []
  return { url: first + url.slice(whole.length), further }
}

/** `90000` → `90s`; the largest unit that needs no fraction. */
export function formatDuration(ms: number): string {
  if (ms !== 0 && ms % 3_600_000 === 0) return `${String(ms / 3_600_000)}h`
  if (ms !== 0 && ms % 60_000 === 0) return `${String(ms / 60_000)}m`
  if (ms !== 0 && ms % 1000 === 0) return `${String(ms / 1000)}s`
  return `${String(ms)}ms`
}

/** `10485760` → `10MB`; the largest unit that needs no fraction. */
export function formatBytes(bytes: number): string {
  for (const [unit, size] of [
    ['GB', 1024 ** 3],
    ['MB', 1024 ** 2],
    ['kB', 1024],
  ] as const) {
    if (bytes !== 0 && bytes % size === 0) return `${String(bytes / size)}${unit}`
  }
  return `${String(bytes)}B`
}

/** The error for a value that is none of the setting. The value is quoted, but for secrets and URLs with one. */
export function badValue(setting: Setting, given: unknown, where: string): FleetError {
  const secret = setting.type === 'secret' || setting.type === 'url'
  const quoted = secret ? 'the value' : (JSON.stringify(given)?.slice(0, 80) ?? 'the value')
  return new FleetError('invalid_config', `${where}: ${quoted} is not ${expectation(setting)}`, {
    hint: `${where} takes ${expectation(setting)}`,
  })
}

function wholeNumber(given: unknown, min: number, max: number): number | undefined {
  if (typeof given === 'number') return Number.isSafeInteger(given) ? within(given, min, max) : undefined
  if (typeof given !== 'string' || !/^\d{1,15}$/.test(given.replaceAll('_', ''))) return undefined
  return within(Number(given.replaceAll('_', '')), min, max)
}

function measure(given: unknown, units: Readonly<Record<string, number>>): number | undefined {
  if (typeof given === 'number') return Number.isSafeInteger(given) ? given : undefined
  if (typeof given !== 'string') return undefined
  const match = /^(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]*)$/.exec(given)
  if (match?.[1] === undefined) return undefined
  const factor = match[2] === '' ? 1 : units[match[2]?.toLowerCase() ?? '']
  const value = factor === undefined ? Number.NaN : Number(match[1]) * factor
  return Number.isSafeInteger(value) ? value : undefined
}

function within(value: number | undefined, min: number, max: number): number | undefined {
  return value !== undefined && value >= min && value <= max ? value : undefined
}

function parseBoolean(given: unknown): boolean | undefined {
  if (typeof given === 'boolean') return given
  if (given === 'true' || given === '1' || given === 'yes' || given === 'on') return true
  if (given === 'false' || given === '0' || given === 'no' || given === 'off') return false
  return undefined
}

function text(given: unknown, pattern?: RegExp): string | undefined {
  if (typeof given !== 'string' || given === '' || given.includes('\0')) return undefined
  return pattern === undefined || pattern.test(given) ? given : undefined
}

function parsePath(given: unknown, cwd: string): string | undefined {
  const path = text(given)
  return path === undefined ? undefined : resolve(cwd, path)
}

function parseUrl(given: unknown, schemes: readonly string[]): string | undefined {
  if (typeof given !== 'string') return undefined
  const parsed = URL.parse(withoutFurtherHosts(given).url)
  if (parsed === null || parsed.host === '') return undefined
  return schemes.includes(parsed.protocol.slice(0, -1)) ? given : undefined
}
