// docs/reference/metrics.md from the table of metrics.
import {
  LABELS,
  LATENCY_BUCKETS_S,
  METRICS,
  seriesMax,
  type MetricSpec,
} from '../../packages/server/src/runtime/mod.ts'
import { code, generatedFrom, page, table } from './markdown.ts'

const intro = `# Metrics

Every process serves them for Prometheus at \`/metrics\`: router 9090, manager 9091, worker 9092, agent 9093
([settings](configuration.md)). Names begin with \`fleetshard_\`. In \`fleetshard up\` each role has its port, and the router
tells of the process for all.

A histogram has the usual \`_bucket\`, \`_sum\` and \`_count\`; a percentile over all routers is
\`histogram_quantile(0.99, sum by (le) (rate(fleetshard_shard_answer_duration_seconds_bucket[5m])))\`. Without a list of
their own the upper bounds are ${LATENCY_BUCKETS_S.join(', ')} seconds.

Labels never hold a key, a tenant or the text of a statement. No metric has more than ${String(seriesMax)} series: what
comes later is counted together under \`other\`.

What a server bears (\`fleetshard_server_…\`) is told by the manager that watches the shards, \`fleetshard_health_leader 1\`;
\`sum without (instance)\` over all managers gives one value. [Alerts](../../deploy/prometheus/alerts.yml) and a
[dashboard](../../deploy/grafana/fleetshard.json) go by these names.`

const ROLES = ['router', 'manager', 'worker', 'agent'] as const

/** The page. */
export function metricsPage(): string {
  const all = Object.entries(METRICS)
  const everywhere = all.filter(([, { roles }]) => roles.length === ROLES.length)
  const own = ROLES.flatMap((role) => {
    const found = all.filter(([, { roles }]) => roles.length === 1 && roles[0] === role)
    return [`## ${role.charAt(0).toUpperCase()}${role.slice(1)}`, tableOf(found)]
  })
  return page(
    generatedFrom('packages/server/src/runtime/metric-table/'),
    intro,
    ...own,
    '## Every process',
    tableOf(everywhere),
    '## Labels',
    table(
      ['Label', 'Values'],
      Object.entries(LABELS).map(([name, values]) => [code(name), values]),
    ),
  )
}

function tableOf(metrics: readonly (readonly [string, MetricSpec])[]): string {
  return table(
    ['Metric', 'Type', 'Unit', 'Labels', 'What it says'],
    metrics.map(([name, { type, unit, labels = [], help, buckets }]) => [
      code(`fleetshard_${name}`),
      type,
      unit,
      labels.map(code).join(', '),
      buckets === undefined ? help : `${help}. Bounds: ${buckets.join(', ')}`,
    ]),
  )
}
