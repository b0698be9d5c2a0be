// Metrics in Prometheus' form. A process makes one `Metrics`, hands it to its parts, and serves it with
// metrics-server.ts. Series are bound once and then cost a few nanoseconds: `family.with('a').inc()` at start-up,
// `series.inc()` on the hot path.
import { FleetError } from '@fleetshard/core'
import {
  metricsContentType,
  metricsText,
  type ExportedMetric,
  type LabelObject,
  type Sample,
} from './metrics-text.ts'
import { registerProcessMetrics } from './process-metrics.ts'

/** Most series of one family; what comes later is counted together under the label value `other`. */
export const seriesMax = 20_000

/** Upper bounds in seconds, from a lookup on this machine to a statement that times out. */
export const LATENCY_BUCKETS_S = [
  0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
] as const

/**
 * Name without the `fleetshard_` in front, help, and the names of its labels. What the product registers stands in
 * the table (metric-table/), whose type says how it may be registered.
 */
export interface FamilySpec<Labels extends readonly string[], K extends Kind = Kind> {
  readonly name: string
  readonly help: string
  readonly labels?: Labels
  readonly type?: K
  /** Fewer series than `seriesMax`, for a label whose values clients have a say in. */
  readonly seriesMax?: number
}

type Kind = 'counter' | 'gauge' | 'histogram'

/** One text a label. */
export type LabelValues<Labels extends readonly string[]> = { readonly [I in keyof Labels]: string }

/** A number that only grows. */
export interface CounterSeries {
  inc(by?: number): void
}
/** A number that goes up and down. */
export interface GaugeSeries {
  set(value: number): void
  add(by: number): void
}
/** Counts of observations by size. Seconds, unless the family has other buckets. */
export interface HistogramSeries {
  observe(value: number): void
}

/** A metric with its labels. `with` gives the same series for the same values: bind it once where it is hot. */
export interface Family<Labels extends readonly string[], Series> {
  with(...values: LabelValues<Labels>): Series
  /** Forgets a series, such as that of a node that is gone. */
  remove(...values: LabelValues<Labels>): void
}

/** What reads the values of a metric at the moment they are asked for. */
export type MetricReader<Labels extends readonly string[]> = () => Iterable<{
  readonly labels: LabelValues<Labels>
  readonly value: number
}>

/** The metrics of one process. */
export interface Metrics {
  /** False where nothing is counted. */
  readonly isOn: boolean
  counter<const L extends readonly string[] = readonly []>(
    spec: FamilySpec<L, 'counter'>,
  ): Family<L, CounterSeries>
  gauge<const L extends readonly string[] = readonly []>(spec: FamilySpec<L, 'gauge'>): Family<L, GaugeSeries>
  /** A gauge that is read when somebody asks for the metrics; for what has a size anyway. */
  observedGauge<const L extends readonly string[] = readonly []>(
    spec: FamilySpec<L, 'gauge'>,
    read: MetricReader<L>,
  ): void
  /** The same of a number that only grows and is counted somewhere else. */
  observedCounter<const L extends readonly string[] = readonly []>(
    spec: FamilySpec<L, 'counter'>,
    read: MetricReader<L>,
  ): void
  histogram<const L extends readonly string[] = readonly []>(
    spec: FamilySpec<L, 'histogram'> & { readonly buckets?: readonly number[] },
  ): Family<L, HistogramSeries>
  /** All of them, in Prometheus' text format 0.0.4. */
  text(): Promise<string>
  readonly contentType: string
}

/** @param withProcess true to have those of the process too (memory, CPU, event loop) */
export function createMetrics(withProcess: boolean): Metrics {
  const registered = new Map<string, ExportedMetric>()
  const register = (
    type: Kind,
    { name, help }: FamilySpec<readonly string[]>,
    read: ExportedMetric['read'],
  ): void => {
    const full = prefixed(name)
    if (registered.has(full)) throw new FleetError('internal', `the metric ${full} is registered twice`)
    registered.set(full, { type, name: full, help, read })
  }
  const add = <L extends readonly string[], S>(
    type: Kind,
    spec: FamilySpec<L>,
    make: Maker<S>,
  ): Family<L, S> => {
    const store = new SeriesStore(spec, make)
    register(type, spec, () => store.values())
    return store
  }
  const observe = <L extends readonly string[]>(
    type: Kind,
    spec: FamilySpec<L>,
    read: MetricReader<L>,
  ): void => {
    register(type, spec, () => samplesOf(spec.labels ?? [], read()))
  }
  const metrics: Metrics = {
    isOn: true,
    counter: (spec) => add('counter', spec, makeCounter),
    gauge: (spec) => add('gauge', spec, makeGauge),
    observedGauge: (spec, read) => {
      observe('gauge', spec, read)
    },
    observedCounter: (spec, read) => {
      observe('counter', spec, read)
    },
    histogram: (spec) => add('histogram', spec, makeHistogram(spec.buckets ?? LATENCY_BUCKETS_S)),
    text: async () => metricsText(registered.values()),
    contentType: metricsContentType,
  }
  if (withProcess) registerProcessMetrics(metrics)
  return metrics
}

function samplesOf<L extends readonly string[]>(
  names: readonly string[],
  read: Iterable<{ readonly labels: LabelValues<L>; readonly value: number }>,
): readonly Sample[] {
  const samples: Sample[] = []
  for (const { labels, value } of read) {
    if (samples.length >= seriesMax) break
    samples.push({ labels: labelled(names, labels), value })
  }
  return samples
}

/** A series and how it is written out. */
interface Bound<Series> {
  readonly series: Series
  samples(name: string, labels: LabelObject): readonly Sample[]
}
type Maker<Series> = () => Bound<Series>

function prefixed(name: string): string {
  return `fleetshard_${name}`
}

function labelled(names: readonly string[], values: readonly string[]): LabelObject {
  return Object.fromEntries(names.map((name, index) => [name, values[index] ?? '']))
}

class SeriesStore<Labels extends readonly string[], Series> implements Family<Labels, Series> {
  readonly #name: string
  readonly #labels: readonly string[]
  readonly #max: number
  readonly #make: Maker<Series>
  readonly #series = new Map<string, { readonly labels: LabelObject; readonly bound: Bound<Series> }>()

  constructor(spec: FamilySpec<Labels>, make: Maker<Series>) {
    this.#name = prefixed(spec.name)
    this.#labels = spec.labels ?? []
    this.#max = spec.seriesMax ?? seriesMax
    this.#make = make
  }

  with(...values: LabelValues<Labels>): Series {
    const key = values.join('\0')
    const known = this.#series.get(key)
    if (known !== undefined) return known.bound.series
    const overflow = this.#series.size >= this.#max
    return this.#add(overflow ? this.#labels.map(() => 'other') : values)
  }

  remove(...values: LabelValues<Labels>): void {
    this.#series.delete(values.join('\0'))
  }

  values(): readonly Sample[] {
    return [...this.#series.values()].flatMap(({ labels, bound }) => bound.samples(this.#name, labels))
  }

  #add(values: readonly string[]): Series {
    const key = values.join('\0')
    const known = this.#series.get(key)
    if (known !== undefined) return known.bound.series
    const bound = this.#make()
    this.#series.set(key, { labels: labelled(this.#labels, values), bound })
    return bound.series
  }
}

function makeCounter(): Bound<CounterSeries> {
  let count = 0
  return {
    series: {
      inc(by = 1) {
        if (by > 0) count += by
      },
    },
    samples: (_name, labels) => [{ labels, value: count }],
  }
}

function makeGauge(): Bound<GaugeSeries> {
  let current = 0
  return {
    series: {
      set(value) {
        current = value
      },
      add(by) {
        current += by
      },
    },
    samples: (_name, labels) => [{ labels, value: current }],
  }
}

function makeHistogram(buckets: readonly number[]): Maker<HistogramSeries> {
  const bounds = Float64Array.from(buckets).sort()
  return () => {
    const counts = new Float64Array(bounds.length + 1)
    let sum = 0
    return {
      series: {
        observe(value) {
          let at = 0
          // Few buckets and most values in the first half: a walk beats a binary search.
          while (at < bounds.length && value > (bounds[at] ?? 0)) at += 1
          counts[at] = (counts[at] ?? 0) + 1
          sum += value
        },
      },
      samples: (name, labels) => histogramSamples(name, labels, { bounds, counts, sum }),
    }
  }
}

interface HistogramState {
  readonly bounds: Float64Array
  readonly counts: Float64Array
  readonly sum: number
}

function histogramSamples(
  name: string,
  labels: LabelObject,
  { bounds, counts, sum }: HistogramState,
): Sample[] {
  let total = 0
  const samples: Sample[] = []
  counts.forEach((count, index) => {
    total += count
    const le = bounds[index] ?? '+Inf'
    samples.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: total })
  })
  samples.push(
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: total },
  )
  return samples
}
