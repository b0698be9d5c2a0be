import { expect, test } from 'vitest'
import { loadConfig } from '../runtime/mod.ts'
import { roleMetrics } from './process.ts'

const metricsBy = (env: Readonly<Record<string, string>>) => {
  const config = loadConfig({ env, cwd: '/', readFile: () => '{}' })
  return roleMetrics('router', { config, version: '0', withProcess: true })
}

test('a role counts unless metrics.enabled is off, process and all', async () => {
  expect(await metricsBy({}).text()).toContain('fleetshard_build_info')
  const none = metricsBy({ FLEETSHARD_METRICS_ENABLED: 'false' })
  none
    .counter({ name: 'seen_total', help: 'Seen.', labels: ['what'] })
    .with('one')
    .inc()
  none.histogram({ name: 'took_seconds', help: 'Took.' }).with().observe(1)
  expect([none.isOn, await none.text()]).toEqual([false, ''])
})
