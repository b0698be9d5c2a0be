import { expect, test } from 'vitest'
import { createMetrics, seriesMax } from './metrics.ts'

test('writes counters, gauges and histograms in the text format', async () => {
  const metrics = createMetrics(false)
  metrics
    .counter({ name: 'requests_total', help: 'Requests.', labels: ['route', 'code'] })
    .with('/v1/"x"', '200')
    .inc(3)
  metrics.gauge({ name: 'open', help: 'Open.' }).with().set(7)
  const latency = metrics
    .histogram({ name: 'wait_seconds', help: 'Wait.', labels: ['node'], buckets: [0.1, 1] })
    .with('n1')
  for (const seconds of [0.05, 0.1, 0.5, 5]) latency.observe(seconds)
  expect(await metrics.text()).toBe(`# HELP fleetshard_requests_total Requests.
# TYPE fleetshard_requests_total counter
fleetshard_requests_total{route="/v1/\\"x\\"",code="200"} 3

# HELP fleetshard_open Open.
# TYPE fleetshard_open gauge
fleetshard_open 7

# HELP fleetshard_wait_seconds Wait.
# TYPE fleetshard_wait_seconds histogram
fleetshard_wait_seconds_bucket{node="n1",le="0.1"} 2
fleetshard_wait_seconds_bucket{node="n1",le="1"} 3
fleetshard_wait_seconds_bucket{node="n1",le="+Inf"} 4
fleetshard_wait_seconds_sum{node="n1"} 5.65
fleetshard_wait_seconds_count{node="n1"} 4
`)
})

test('the same labels are the same series', () => {
  const family = createMetrics(false).gauge({ name: 'g', help: 'G.', labels: ['a'] })
  expect(family.with('x')).toBe(family.with('x'))
  expect(family.with('x')).not.toBe(family.with('y'))
})

test('a counter never falls', async () => {
  const metrics = createMetrics(false)
  const series = metrics.counter({ name: 'c', help: 'C.' }).with()
  series.inc()
  series.inc(-5)
  series.inc(Number.NaN)
  expect(await metrics.text()).toContain('fleetshard_c 1\n')
})

test('an observed gauge is read when it is asked for', async () => {
  const metrics = createMetrics(false)
  let size = 1
  metrics.observedGauge({ name: 'size', help: 'Size.', labels: ['of'] }, () => [
    { labels: ['queue'], value: size },
  ])
  size = 42
  expect(await metrics.text()).toContain('fleetshard_size{of="queue"} 42\n')
})

test('series beyond the bound are counted together', async () => {
  const metrics = createMetrics(false)
  const family = metrics.counter({ name: 'many', help: 'Many.', labels: ['k'] })
  for (let index = 0; index < seriesMax + 50; index += 1) family.with(String(index)).inc()
  const text = await metrics.text()
  expect(text).toContain('fleetshard_many{k="other"} 50\n')
  expect(text.match(/^fleetshard_many\{/gm)).toHaveLength(seriesMax + 1)
})

test('a family may have a smaller bound of its own', async () => {
  const metrics = createMetrics(false)
  const family = metrics.counter({ name: 'few', help: 'Few.', labels: ['k'], seriesMax: 2 })
  for (const value of ['a', 'b', 'c', 'd']) family.with(value).inc()
  expect((await metrics.text()).match(/^fleetshard_few\{.*$/gm)).toEqual([
    'fleetshard_few{k="a"} 1',
    'fleetshard_few{k="b"} 1',
    'fleetshard_few{k="other"} 2',
  ])
})

test('a counter that is counted elsewhere is read when it is asked for', async () => {
  const metrics = createMetrics(false)
  let count = 1
  metrics.observedCounter({ name: 'lookups_total', help: 'L.' }, () => [{ labels: [], value: count }])
  count = 5
  const text = await metrics.text()
  expect(text).toContain('# TYPE fleetshard_lookups_total counter')
  expect(text).toContain('fleetshard_lookups_total 5\n')
})

test('a removed series is gone', async () => {
  const metrics = createMetrics(false)
  const family = metrics.gauge({ name: 'g', help: 'G.', labels: ['node'] })
  family.with('a').set(1)
  family.with('b').add(2)
  family.remove('a')
  const text = await metrics.text()
  expect(text).not.toContain('node="a"')
  expect(text).toContain('fleetshard_g{node="b"} 2')
})

test('the process has metrics of its own when they are wanted, in a registry of its own', async () => {
  expect(await createMetrics(true).text()).toContain('fleetshard_process_cpu_seconds_total')
  expect(await createMetrics(false).text()).not.toContain('process_cpu')
})
