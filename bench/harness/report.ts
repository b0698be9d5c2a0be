// The result of a workload: runs, ratios and targets, as JSON and as a table for people.
import { cpus, totalmem } from 'node:os'

/** One measured run of one variant. Null where a figure has no meaning for it. */
export interface Run {
  readonly variant: string
  readonly clients: number
  readonly ops_per_s: number
  readonly p50_ms: number | null
  readonly p99_ms: number | null
  /** CPU time of the variant's own process, microseconds. */
  readonly cpu_us_per_op: number | null
  readonly rss_mb: number | null
}

/** A promise and what was measured. */
export interface Target {
  readonly name: string
  /** `>= 2`, `<= 0.3` */
  readonly want: string
  readonly got: number
  readonly holds: boolean
}

/** What a workload reports. */
export interface Report {
  readonly workload: string
  readonly machine: string
  readonly runs: readonly Run[]
  /** Medians of the ratios of runs made side by side. */
  readonly ratios: Readonly<Record<string, number>>
  readonly targets: readonly Target[]
  /** What a reader should know about the figures. */
  readonly notes: readonly string[]
}

/** This machine in one line. */
export function describeMachine(): string {
  const [cpu] = cpus()
  const memory = Math.round(totalmem() / 2 ** 30)
  return `${String(cpus().length)} × ${cpu?.model.trim() ?? 'unknown'}, ${String(memory)} GiB, Node ${process.version}`
}

/** The middle value; of an even number of values the lower of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted[Math.floor((sorted.length - 1) / 2)]
  if (middle === undefined) throw new Error('no values to take the median of')
  return middle
}

/** A target of at least that much. */
export const atLeast = (name: string, want: number, got: number): Target => ({
  name,
  want: `>= ${String(want)}`,
  got: round(got),
  holds: got >= want,
})

/** A target of at most that much. */
export const atMost = (name: string, want: number, got: number): Target => ({
  name,
  want: `<= ${String(want)}`,
  got: round(got),
  holds: got <= want,
})

/** Four significant digits: more would pretend. */
export const round = (value: number): number => Number(value.toPrecision(4))

/** The report for people. */
export function formatReport(report: Report): string {
  const header = ['variant', 'clients', 'ops/s', 'p50 ms', 'p99 ms', 'cpu µs/op', 'rss MB']
  const rows = report.runs.map((run) => [
    run.variant,
    String(run.clients),
    Math.round(run.ops_per_s).toLocaleString('en'),
    ...[run.p50_ms, run.p99_ms, run.cpu_us_per_op, run.rss_mb].map((value) =>
      value === null ? '-' : String(round(value)),
    ),
  ])
  const ratios = Object.entries(report.ratios).map(([name, value]) => `  ${name}: ${String(round(value))}`)
  const targets = report.targets.map(
    ({ name, want, got, holds }) => `  ${holds ? 'holds' : 'MISSED'}  ${name}: ${String(got)} (want ${want})`,
  )
  const notes = report.notes.map((note) => `  ${note}`)
  return [
    `${report.workload} on ${report.machine}`,
    table([header, ...rows]),
    'ratios (medians of runs side by side)',
    ...ratios,
    'targets',
    ...targets,
    ...(notes.length > 0 ? ['notes', ...notes] : []),
  ].join('\n')
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  '),
    )
    .map((line) => `  ${line}`)
    .join('\n')
}

/** What a run may be asked for. */
export interface RunOptions {
  /** How often `failover` lets each of its faults happen. */
  readonly kills: number
}
