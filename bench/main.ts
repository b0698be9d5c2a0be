// `npm run bench -- NAME [--json] [--check] [--kills N]`: runs one workload and reports medians and ratios.
import { parseArgs } from 'node:util'
import { formatReport, round, type Report, type Run, type RunOptions } from './harness/report.ts'
import { client } from './workloads/client.ts'
import { failover } from './workloads/failover/mod.ts'
import { http } from './workloads/http.ts'
import { lookup } from './workloads/lookup.ts'
import { manager } from './workloads/manager.ts'
import { observability } from './workloads/observability.ts'
import { overload } from './workloads/overload.ts'
import { plan } from './workloads/plan.ts'
import { reshard } from './workloads/reshard.ts'
import { routerMemory } from './workloads/router-memory.ts'
import { watch } from './workloads/watch.ts'
import { wire } from './workloads/wire.ts'
import { wireMemory } from './workloads/wire-memory.ts'

/** Workloads by name: one line each. */
const WORKLOADS: Readonly<
  Record<string, (onRun: (run: Run) => void, options: RunOptions) => Promise<Report>>
> = {
  lookup,
  http,
  client,
  manager,
  'router-memory': routerMemory,
  plan,
  watch,
  wire,
  'wire-memory': wireMemory,
  observability,
  overload,
  reshard,
  failover,
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    kills: { type: 'string', default: '20' },
  },
})
const [name = ''] = positionals
const workload = WORKLOADS[name]
const kills = Number(values.kills)
if (workload === undefined || positionals.length !== 1 || !(Number.isSafeInteger(kills) && kills > 0)) {
  console.error(
    `usage: npm run bench -- NAME [--json] [--check] [--kills N]\nworkloads: ${Object.keys(WORKLOADS).join(', ')}`,
  )
  process.exit(2)
}
const report = await workload(
  ({ variant, clients, ops_per_s, p50_ms }) => {
    const latency = p50_ms === null ? '' : `, p50 ${String(round(p50_ms))} ms`
    console.error(
      `  ${variant}, ${String(clients)} clients: ${Math.round(ops_per_s).toLocaleString('en')} ops/s${latency}`,
    )
  },
  { kills },
)
console.log(values.json ? JSON.stringify(report) : formatReport(report))
// What workloads have killed may keep this one alive, or busy at its end.
process.exit(values.check && report.targets.some(({ holds }) => !holds) ? 1 : 0)
