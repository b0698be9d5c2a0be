import { createServer } from 'node:net'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { silentLogger } from './log.ts'
import { createMetricsServer, type Health, type MetricsServer } from './metrics-server.ts'
import { createMetrics } from './metrics.ts'

function setup(port = 0, health: () => Health = () => ({ ok: true, role: 'router' })) {
  const metrics = createMetrics(false)
  metrics.counter({ name: 'seen_total', help: 'Seen.' }).with().inc()
  const server = createMetricsServer({
    metrics,
    health,
    host: '127.0.0.1',
    port,
    flag: '--metrics-port',
    log: silentLogger,
  })
  return { server, metrics }
}

async function serving(server: MetricsServer, use: (url: string) => Promise<void>): Promise<void> {
  const stop = new AbortController()
  const running = server.run(stop.signal)
  try {
    await Promise.race([server.ready?.(), running])
    await use(`http://127.0.0.1:${String(server.port())}`)
  } finally {
    stop.abort()
    await running
  }
}

describe('the metrics server', () => {
  test('answers /metrics and /health', async () => {
    await serving(setup().server, async (url) => {
      const metrics = await fetch(`${url}/metrics`)
      expect(metrics.headers.get('content-type')).toContain('version=0.0.4')
      expect(await metrics.text()).toContain('fleetshard_seen_total 1')
      const health = await fetch(`${url}/health?x=1`)
      expect([health.status, await health.json()]).toEqual([200, { status: 'ok', role: 'router' }])
    })
  })

  test('tells by 503 that the process is not well', async () => {
    const { server } = setup(0, () => ({ ok: false, reason: 'the catalog does not answer' }))
    await serving(server, async (url) => {
      const health = await fetch(`${url}/health`)
      expect([health.status, await health.json()]).toEqual([
        503,
        { status: 'unhealthy', reason: 'the catalog does not answer' },
      ])
    })
  })

  test('refuses other paths and methods', async () => {
    await serving(setup().server, async (url) => {
      expect((await fetch(`${url}/`)).status).toBe(404)
      expect((await fetch(`${url}/metrics`, { method: 'POST', body: 'x' })).status).toBe(405)
    })
  })

  test('a metric that cannot be read is a 500, and the server goes on', async () => {
    const { server, metrics } = setup()
    metrics.observedGauge({ name: 'broken', help: 'B.' }, () => {
      throw new Error('no')
    })
    await serving(server, async (url) => {
      expect((await fetch(`${url}/metrics`)).status).toBe(500)
      expect((await fetch(`${url}/health`)).status).toBe(200)
    })
  })

  test('names the flag when the port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const address = other.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const { server } = setup(port)
    await expect(server.run(new AbortController().signal)).rejects.toMatchObject({
      code: 'port_taken',
      hint: expect.stringContaining('--metrics-port') as string,
    })
    other.close()
  })
})
