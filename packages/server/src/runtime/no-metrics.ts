// Metrics of a process that is to have none: what would be counted is dropped at once, and nothing is kept.
import { metricsContentType } from './metrics-text.ts'
import type { CounterSeries, Family, GaugeSeries, HistogramSeries, Metrics } from './metrics.ts'

const nothing = (): void => undefined
const counter: CounterSeries = { inc: nothing }
const gauge: GaugeSeries = { set: nothing, add: nothing }
const histogram: HistogramSeries = { observe: nothing }

const family = <Series>(series: Series): Family<readonly string[], Series> => ({
  with: () => series,
  remove: nothing,
})

/** For `metrics.enabled = false`. */
export const noMetrics: Metrics = {
  isOn: false,
  counter: () => family(counter),
  gauge: () => family(gauge),
  observedGauge: nothing,
  observedCounter: nothing,
  histogram: () => family(histogram),
  text: () => Promise.resolve(''),
  contentType: metricsContentType,
}
