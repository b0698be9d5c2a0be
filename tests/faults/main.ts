// `npm run faults -- NAME [--minutes N] [--seed S] [--json]`: runs a family of scenarios, or one of them as
// FAMILY/SCENARIO, and says whether everything held.
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { runScenario } from './run.ts'
import type { ScenarioReport } from './scenario.ts'
import { FAMILIES } from './scenarios/mod.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    json: { type: 'boolean', default: false },
  },
})
const [family = '', only] = (positionals[0] ?? '').split('/')
const scenarios = (FAMILIES[family] ?? []).filter(({ name }) => only === undefined || name === only)
const minutes = values.minutes === undefined ? null : Number(values.minutes)
const seed = Number(values.seed)
if (scenarios.length === 0 || !Number.isSafeInteger(seed) || (minutes !== null && !(minutes > 0))) {
  const lines = Object.entries(FAMILIES).flatMap(([name, list]) =>
    list.map((scenario) => `  ${name}/${scenario.name}: ${scenario.what}`),
  )
  console.error(
    `usage: npm run faults -- FAMILY[/SCENARIO] [--minutes N] [--seed S] [--json]\n${lines.join('\n')}`,
  )
  process.exit(2)
}
const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    stop.abort(new Error(`stopped by ${signal}`))
  })
}
const reports: ScenarioReport[] = []
const skipped: { readonly name: string; readonly why: string }[] = []
for (const scenario of scenarios) {
  if (stop.signal.aborted) break
  const why = scenario.obstacle?.() ?? null
  console.error(`${family}/${scenario.name}, seed ${String(seed)}: ${scenario.what}`)
  if (why === null) {
    const own = minutes === null ? null : minutes / scenarios.length
    reports.push(
      await runScenario(scenario, {
        minutes: own,
        seed,
        signal: stop.signal,
        say: (text) => console.error(`  ${text}`),
      }),
    )
  } else {
    skipped.push({ name: scenario.name, why })
    console.error(`  left out: ${why}`)
  }
}
const sum = (read: (report: ScenarioReport) => number): number =>
  reports.reduce((total, report) => total + read(report), 0)
const counts: Record<string, number> = {}
for (const report of reports) {
  for (const [what, count] of Object.entries(report.counts)) counts[what] = (counts[what] ?? 0) + count
}
const result = {
  family,
  seed,
  acked: sum(({ acked }) => acked),
  lost: sum(({ lost }) => lost),
  duplicated: sum(({ duplicated }) => duplicated),
  misplaced: sum(({ misplaced }) => misplaced),
  stale: sum(({ stale }) => stale),
  denied: sum(({ denied }) => denied),
  ...counts,
  holds: !stop.signal.aborted && reports.every(({ holds }) => holds),
  scenarios: reports,
  skipped,
}
console.log(values.json ? JSON.stringify(result) : JSON.stringify(result, null, 2))
// Connections to processes that were killed may keep this one alive.
process.exit(result.holds ? 0 : 1)
