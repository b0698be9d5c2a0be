// docs/reference/errors.md from the error catalogue.
import { ERRORS, type ErrorSpec } from '@fleetshard/core'
import { code, generatedFrom, page, table } from './markdown.ts'

const intro = `# Errors

Every error that leaves FleetShard has one of these codes: in the \`code\` field of HTTP answers (RFC 9457 problem
details), as SQLSTATE on the Postgres wire, and behind \`error:\` on the command line. Codes are stable; messages say
the particular and may change. \`retryable\` means that the same request may succeed later without a change.

An error of Postgres keeps its own SQLSTATE.`

/** The page. */
export function errorsPage(): string {
  const specs: readonly (readonly [string, ErrorSpec])[] = Object.entries(ERRORS)
  return page(
    generatedFrom('packages/core/src/errors/catalogue.ts'),
    intro,
    table(
      ['Code', 'HTTP', 'SQLSTATE', 'Retryable', 'Title'],
      specs.map(([name, spec]) => [
        `[${code(name)}](#${name})`,
        String(spec.status),
        code(spec.sqlstate),
        spec.retryable ? 'yes' : 'no',
        spec.title,
      ]),
    ),
    ...specs.map(([name, spec]) =>
      page(
        `## ${name}`,
        `${spec.title}.`,
        `**Cause.** ${spec.cause}`,
        `**What to do.** ${spec.remedy}`,
      ).trimEnd(),
    ),
  )
}
