import { createServer } from 'node:net'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { createLogging, silentLogger } from './log.ts'
import { createMetricsServer, type Health, type MetricsServer } from './metrics-server.ts'
import { createMetrics } from './metrics.ts'
import { noMetrics } from './no-metrics.ts'
import { manualClock } from './testing/manual-clock.ts'

function setup(
  port = 0,
  health: () => Health = () => ({ ok: true, role: 'router' }),
  metrics = createMetrics(false),
) {
  metrics.counter({ name: 'seen_total', help: 'Seen.' }).with().inc()
  const logging = createLogging('info', '/dev/null')
  const clock = manualClock()
  const server = createMetricsServer({
    tls: null,
    metrics,
    health,
    host: '127.0.0.1',
    port,
    flag: '--metrics-port',
    log: silentLogger,
    logging,
    clock,
  })
  return { server, metrics, logging, clock }
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

  test('tells that there are none where nothing is counted', async () => {
    await serving(setup(0, undefined, noMetrics).server, async (url) => {
      const metrics = await fetch(`${url}/metrics`)
      expect([metrics.status, await metrics.text()]).toEqual([
        404,
        'there are no metrics: metrics.enabled is off\n',
      ])
      expect((await fetch(`${url}/health`)).status).toBe(200)
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

  test('leads whoever opens the address to the metrics', async () => {
    await serving(setup().server, async (url) => {
      const answer = await fetch(url)
      expect([new URL(answer.url).pathname, answer.status]).toEqual(['/metrics', 200])
    })
  })

  test('refuses other paths and methods', async () => {
    await serving(setup().server, async (url) => {
      expect((await fetch(`${url}/nothing`)).status).toBe(404)
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

describe('the level of the log', () => {
  const put = (url: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${url}/log-level`, { method: 'PUT', body: JSON.stringify(body), headers })

  test('is told and changed, for loggers that are there and those to come', async () => {
    const { server, logging } = setup()
    const before = logging.log.child({ part: 'before' })
    const grandchild = before.child({ job: 'j' })
    await serving(server, async (url) => {
      expect(await (await fetch(`${url}/log-level`)).json()).toEqual({ level: 'info' })
      expect(before.isLevelEnabled('debug')).toBe(false)
      const answer = await put(url, { level: 'debug' })
      expect([answer.status, await answer.json()]).toEqual([200, { level: 'debug' }])
    })
    for (const logger of [logging.log, before, grandchild, logging.log.child({ part: 'after' })]) {
      expect(logger.isLevelEnabled('debug')).toBe(true)
    }
    logging.setLevel('error')
    expect(grandchild.isLevelEnabled('warn')).toBe(false)
  })

  test('goes back by itself where a time is given', async () => {
    const { server, logging, clock } = setup()
    await serving(server, async (url) => {
      expect(await (await put(url, { level: 'trace', for_ms: 60_000 })).json()).toEqual({
        level: 'trace',
        back_to: 'info',
      })
      // A second order goes back to what was before the first.
      await put(url, { level: 'debug', for_ms: 30_000 })
      clock.advance(29_999)
      expect(logging.level()).toBe('debug')
      clock.advance(1)
      expect(logging.level()).toBe('info')
      await put(url, { level: 'trace', for_ms: 1_000 })
      await put(url, { level: 'warn' })
      clock.advance(100_000)
      expect(logging.level()).toBe('warn')
    })
    expect(clock.pending()).toBe(0)
  })

  test('refuses what it does not know, and who hides where he comes from', async () => {
    const { server, logging } = setup()
    await serving(server, async (url) => {
      const refused = [
        { level: 'loud' },
        {},
        'debug',
        null,
        { level: 'debug', for_ms: 0 },
        { level: 'debug', for_ms: 1e12 },
        { level: 'debug', more: 1 },
        { level: 'debug', for_ms: 'x'.repeat(2_000) },
      ]
      for (const body of refused) expect((await put(url, body)).status).toBe(400)
      for (const name of ['origin', 'x-forwarded-for', 'forwarded', 'via']) {
        expect((await put(url, { level: 'debug' }, { [name]: 'http://evil.example' })).status).toBe(403)
      }
      expect((await fetch(`${url}/log-level`, { method: 'DELETE' })).status).toBe(405)
    })
    expect(logging.level()).toBe('info')
  })
})
