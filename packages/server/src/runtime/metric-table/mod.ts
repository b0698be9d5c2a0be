// The table of metrics: every one of every process, once. The registrations, docs/reference/metrics.md and the tests of
// alerts and dashboard are made from it.
import { AGENT_METRICS, HEALTH_METRICS, MANAGER_METRICS, WORKER_METRICS } from './control.ts'
import type { MetricSpec } from './model.ts'
import { COMMON_METRICS, PROCESS_METRICS } from './process.ts'
import { ROUTER_METRICS } from './router.ts'

export { LABELS, type MetricRole, type MetricSpec } from './model.ts'
export {
  AGENT_METRICS,
  COMMON_METRICS,
  HEALTH_METRICS,
  MANAGER_METRICS,
  PROCESS_METRICS,
  ROUTER_METRICS,
  WORKER_METRICS,
}

/** All of them by their names without `fleetshard_` in front. */
export const METRICS: Readonly<Record<string, MetricSpec & { readonly name: string }>> = {
  ...ROUTER_METRICS,
  ...MANAGER_METRICS,
  ...HEALTH_METRICS,
  ...WORKER_METRICS,
  ...AGENT_METRICS,
  ...COMMON_METRICS,
  ...PROCESS_METRICS,
}
