// The metrics of the process itself: processor, memory, event loop, garbage collection. Read when somebody asks, but for
// the pauses of the collector, which node tells as they come.
import { constants, monitorEventLoopDelay, performance, PerformanceObserver } from 'node:perf_hooks'
import type { Metrics } from './metrics.ts'
import { PROCESS_METRICS as TABLE } from './metric-table/mod.ts'

/** How often the delay of the event loop is measured. */
const delayResolutionMs = 20
const nsPerSecond = 1e9

/** Registers them; once a process, since they would count the same memory twice. */
export function registerProcessMetrics(metrics: Metrics): void {
  metrics.observedCounter(TABLE.process_cpu_seconds_total, () => {
    const { user, system } = process.cpuUsage()
    return [
      { labels: ['user'], value: user / 1e6 },
      { labels: ['system'], value: system / 1e6 },
    ]
  })
  metrics.observedGauge(TABLE.process_resident_memory_bytes, () => [
    { labels: [], value: process.memoryUsage.rss() },
  ])
  metrics.observedGauge(TABLE.process_heap_bytes, () => {
    const { heapUsed, heapTotal, external } = process.memoryUsage()
    return [
      { labels: ['used'], value: heapUsed },
      { labels: ['reserved'], value: heapTotal },
      { labels: ['external'], value: external },
    ]
  })
  metrics.observedGauge(TABLE.process_start_time_seconds, () => [
    { labels: [], value: performance.timeOrigin / 1000 },
  ])
  registerEventLoop(metrics)
  registerCollector(metrics)
}

function registerEventLoop(metrics: Metrics): void {
  const delay = monitorEventLoopDelay({ resolution: delayResolutionMs })
  delay.enable()
  metrics.observedGauge(TABLE.event_loop_delay_seconds, () => {
    // What is measured is the time between two timers.
    const late = (ns: number): number => Math.max(0, (ns || 0) / nsPerSecond - delayResolutionMs / 1000)
    const values = [
      { labels: ['mean'] as const, value: late(delay.mean) },
      { labels: ['p99'] as const, value: late(delay.percentile(99)) },
      { labels: ['max'] as const, value: delay.count === 0 ? 0 : late(delay.max) },
    ]
    delay.reset()
    return values
  })
  let before = performance.eventLoopUtilization()
  metrics.observedGauge(TABLE.event_loop_busy_ratio, () => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, before)
    before = now
    return [{ labels: [], value: utilization }]
  })
}

/** node's numbers for kinds of collections. */
const KINDS: readonly (readonly [number, string])[] = [
  [constants.NODE_PERFORMANCE_GC_MINOR, 'minor'],
  [constants.NODE_PERFORMANCE_GC_MAJOR, 'major'],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weakcb'],
]

function registerCollector(metrics: Metrics): void {
  const pauses = metrics.histogram(TABLE.gc_duration_seconds)
  const byKind = new Map(KINDS.map(([number, kind]) => [number, pauses.with(kind)]))
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      // The type of a plain entry lacks what those of the collector have.
      const { detail, duration } = entry as typeof entry & { readonly detail?: { readonly kind?: number } }
      byKind.get(detail?.kind ?? -1)?.observe(duration / 1000)
    }
  }).observe({ entryTypes: ['gc'] })
}
