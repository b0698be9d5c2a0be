// docs/reference/failover-states.md from the machine of failovers.
import { failoverMachine, type StateSpec } from '../../packages/server/src/control-plane/health/mod.ts'
import { code, generatedFrom, page, table } from './markdown.ts'

const intro = `# States of a failover

What a failover or switchover goes through; \`fleetshard failover explain\` and the jobs show these words.
[Availability](../guides/availability.md) says what they mean.`

/** The page. */
export function failoverPage(): string {
  const states: readonly (readonly [string, StateSpec])[] = Object.entries(failoverMachine)
  const arrows = states.flatMap(([from, { next }]) =>
    Object.entries(next).map(([event, to]) => `  ${from} --> ${to}: ${event}`),
  )
  return page(
    generatedFrom('packages/server/src/control-plane/health/machine.ts'),
    intro,
    ['```mermaid', 'stateDiagram-v2', ...arrows, '```'].join('\n'),
    table(
      ['State', 'Deadline', 'When it does not move on'],
      states
        .filter(([, { wayOut }]) => wayOut !== null)
        .map(([state, { deadline, wayOut }]) => [
          code(state),
          deadline === null ? '' : `${String(deadline.ms / 1000)} s, then ${code(deadline.event)}`,
          wayOut ?? '',
        ]),
    ),
  )
}
