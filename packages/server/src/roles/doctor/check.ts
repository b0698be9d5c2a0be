// One thing that the doctor looked at, and how it is printed.
import { toFleetError } from '@fleetshard/core'
import type { Style } from '../../cli/mod.ts'

/** `skipped`: it could not be looked at, because of something else that is told. */
export type CheckStatus = 'ok' | 'warning' | 'failed' | 'skipped'

/** What was found. */
export interface Check {
  readonly name: string
  readonly status: CheckStatus
  readonly detail: string
  /** What to do; null where nothing is to be done. */
  readonly remedy: string | null
}

/** All is well. */
export const passed = (name: string, detail: string): Check => ({ name, status: 'ok', detail, remedy: null })

/** Works, but somebody should know. */
export const warned = (name: string, detail: string, remedy: string): Check => ({
  name,
  status: 'warning',
  detail,
  remedy,
})

/** Something is to be done. */
export const failed = (name: string, detail: string, remedy: string): Check => ({
  name,
  status: 'failed',
  detail,
  remedy,
})

/** Not looked at. */
export const skipped = (name: string, detail: string): Check => ({
  name,
  status: 'skipped',
  detail,
  remedy: null,
})

/** The check, or what it failed with. */
export async function checked(name: string, work: () => Promise<Check>): Promise<Check> {
  try {
    return await work()
  } catch (error) {
    const { message, hint } = toFleetError(error)
    return failed(name, message, hint ?? 'see fleetshard.log in the data directory')
  }
}

const MARKS: Readonly<Record<CheckStatus, string>> = { ok: '✓', warning: '!', failed: '✗', skipped: '–' }

/** A line for each check, and one with the remedy below those that need it. */
export function renderChecks(checks: readonly Check[], style: Style): string {
  const width = Math.max(...checks.map(({ name }) => name.length))
  const paint = { ok: style.green, warning: style.yellow, failed: style.red, skipped: style.dim }
  return checks
    .flatMap(({ name, status, detail, remedy }) => [
      `${paint[status](MARKS[status])} ${name.padEnd(width)}  ${detail}`,
      ...(remedy === null ? [] : [`${' '.repeat(width + 4)}${style.dim(`→ ${remedy}`)}`]),
    ])
    .map((line) => `${line}\n`)
    .join('')
}
