import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { loadConfig } from '../runtime/mod.ts'
import { openTracing } from './tracing.ts'

/** Files of OpenTelemetry that a process has read after it has loaded these modules. */
function loadedBy(...modules: string[]): number {
  const urls = modules.map((name) => JSON.stringify(new URL(name, import.meta.url).href))
  const script = `
    import module from 'node:module'
    for (const url of [${urls.join(', ')}]) await import(url)
    const loaded = Object.keys(module._cache).filter((path) => path.includes('@opentelemetry'))
    process.stdout.write(String(loaded.length))
    process.exit(0)`
  const cwd = fileURLToPath(new URL('.', import.meta.url))
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', script],
    { cwd, encoding: 'utf8' },
  )
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
  return Number(stdout)
}

test('no role loads anything of OpenTelemetry by itself', () => {
  expect(loadedBy('router.ts', 'manager.ts', 'worker.ts', 'agent.ts', 'up.ts')).toBe(0)
  expect(loadedBy('tracing/otel.ts')).toBeGreaterThan(10)
})

test('there are no traces without an endpoint', async () => {
  const config = loadConfig({ env: {}, cwd: '/', readFile: () => '{}' })
  expect(await openTracing(config, { role: 'router', version: '0' })).toBeNull()
})
