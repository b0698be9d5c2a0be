// The words and flags that a command was called with, read by type. Wrong ones are `invalid_usage`.
import { FleetError } from '@fleetshard/core'

/** Values of flags as commander gives them, by the camel-case name of the flag. */
export type RawOptions = Readonly<Record<string, unknown>>

/** What one call of a command was given. */
export class Options {
  readonly #args: readonly (string | undefined)[]
  readonly #flags: RawOptions

  constructor(args: readonly (string | undefined)[], flags: RawOptions) {
    this.#args = args
    this.#flags = flags
  }

  /** The argument at that place; commander has seen to it that required ones are there. */
  arg(index: number): string {
    const text = this.#args[index]
    if (text === undefined || text === '') throw usage('an argument is empty')
    return text
  }

  /** The argument at that place, if given. */
  argIfGiven(index: number): string | undefined {
    return this.#args[index]
  }

  /** True when the flag without a value was given. */
  isSet(name: string): boolean {
    return this.#flags[name] === true
  }

  /** True when `--no-NAME` was given. */
  isNegated(name: string): boolean {
    return this.#flags[name] === false
  }

  /** The text of the flag, if given. */
  text(name: string): string | undefined {
    const value = this.#flags[name]
    if (value === undefined) return undefined
    if (typeof value === 'string' && value !== '') return value
    throw usage(`${dashed(name)} is empty`)
  }

  /** The text of a flag that the command can't do without. */
  textRequired(name: string): string {
    const value = this.text(name)
    if (value === undefined) throw usage(`${dashed(name)} is missing`)
    return value
  }

  /** One of the words, if given. */
  choice<const C extends string>(name: string, choices: readonly C[]): C | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const found = choices.find((choice) => choice === value)
    if (found === undefined) throw usage(`${dashed(name)} must be one of ${choices.join(', ')}`)
    return found
  }

  /** All values of a flag that may be given several times. */
  list(name: string): readonly string[] {
    const value = this.#flags[name]
    if (value === undefined) return []
    return (Array.isArray(value) ? (value as unknown[]) : [value]).filter((each) => typeof each === 'string')
  }

  /** A whole number within bounds, if given. */
  int(name: string, min: number, max: number): number | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN
    if (number >= min && number <= max) return number
    throw usage(`${dashed(name)} must be a whole number from ${String(min)} to ${String(max)}`)
  }

  /** A time in milliseconds (`500ms`, `30s`, `5m`, `1h`, a number is seconds), if given. */
  durationMs(name: string): number | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(value)
    if (match?.[1] === undefined) throw usage(`${dashed(name)} must be a time such as 30s, 5m or 1h`)
    const factor = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] ?? 's'] ?? 1000
    return Number(match[1]) * factor
  }
}

/** The error for a wrong call. */
export function usage(message: string, hint?: string): FleetError {
  return new FleetError('invalid_usage', message, hint === undefined ? {} : { hint })
}

function dashed(name: string): string {
  return `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}
