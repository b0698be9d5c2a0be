// docs/reference/events.md from the table of events.
import { EVENT_DOCS } from '../../packages/server/src/runtime/mod.ts'
import { code, generatedFrom, page, table } from './markdown.ts'

const intro = `# Events in the logs

Logs are lines of JSON with \`level\`, \`time\`, \`role\` and \`msg\`; what is about a job, a shard or a request has \`job\`,
\`shard\` or \`trace_id\`. Lines that tell what has happened to the cluster have one of these words under \`event\`.
[Observability](../guides/observability.md) says how to read and tune logs.`

/** The page. */
export function eventsPage(): string {
  return page(
    generatedFrom('packages/server/src/runtime/events.ts'),
    intro,
    table(
      ['Event', 'What it says'],
      Object.entries(EVENT_DOCS).map(([name, doc]) => [code(name), doc]),
    ),
  )
}
