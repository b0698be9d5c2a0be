// The text format of Prometheus, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/

/** The labels of one sample. */
export type LabelObject = Readonly<Record<string, string | number>>

/** One line. */
export interface Sample {
  /** That of the metric where it is left out. */
  readonly metricName?: string
  readonly labels: LabelObject
  readonly value: number
}

/** One metric with its name in full, and what reads it. */
export interface ExportedMetric {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly name: string
  readonly help: string
  readonly read: () => readonly Sample[]
}

/** The header under which it is sent. */
export const metricsContentType = 'text/plain; version=0.0.4; charset=utf-8'

/** All metrics, with an empty line between them; those without samples have their head. */
export function metricsText(metrics: Iterable<ExportedMetric>): string {
  return `${Array.from(metrics, blockOf).join('\n\n')}\n`
}

function blockOf({ type, name, help, read }: ExportedMetric): string {
  const lines = [`# HELP ${name} ${escapedHelp(help)}`, `# TYPE ${name} ${type}`]
  for (const { metricName = name, labels, value } of read())
    lines.push(`${metricName}${labelsOf(labels)} ${numberOf(value)}`)
  return lines.join('\n')
}

function labelsOf(labels: LabelObject): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapedLabel(String(value))}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

const escapedHelp = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
const escapedLabel = (text: string): string => escapedHelp(text).replaceAll('"', '\\"')

function numberOf(value: number): string {
  if (value === Infinity) return '+Inf'
  return value === -Infinity ? '-Inf' : String(value)
}
