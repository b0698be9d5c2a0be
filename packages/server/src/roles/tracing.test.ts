import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { loadConfig } from '../runtime/mod.ts'
import { openTracing } from './tracing.ts'
import { createOtelTracing } from './tracing/otel.ts'

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

test('records the part that is asked for, and what others have begun by their own flag', async () => {
  let next = 0
  const tracing = createOtelTracing({
    url: 'http://127.0.0.1:1/v1/traces',
    headers: {},
    service: 'fleetshard-router',
    version: '0',
    instance: 'router-1',
    ratio: 0.25,
    random: () => next,
  })
  const recorded = (parent: string | null): string | null =>
    tracing.beginRecorded('wire', { parent })?.child('shard').traceparent ?? null
  const theirs = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331'
  expect(recorded(null)).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
  next = 0.25
  expect(recorded(null)).toBeNull()
  expect(recorded('nothing')).toBeNull()
  expect(recorded(`${theirs}-01`)).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$/)
  next = 0
  expect(recorded(`${theirs}-00`)).toBeNull()
  await tracing.shutdown()
})
