// The docs of an HTTP server come when they are asked for, and not before.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const run = promisify(execFile)

/** What a server on its own has loaded, by package, before and after somebody asked for its docs; and its answers. */
const script = `
  import { registerHooks } from 'node:module'
  const loaded = new Set()
  registerHooks({ load(url, context, next) { loaded.add(url); return next(url, context) } })
  const { createApp } = await import(process.argv[1])
  const log = { child: () => log, level: 'silent' }
  for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal']) log[level] = () => undefined
  const app = await createApp({
    log, tracing: null, version: '1', title: 'A title', description: 'A sentence', bodyLimitBytes: 1000,
    bodyLimitSetting: 'x', receiveMsMax: 60000, socketsMax: 10, routes: [], around: async () => null,
    door: {}, onAnswer: () => undefined, tls: null,
  })
  const packages = () => ['@fastify/swagger', '@fastify/swagger-ui', 'yaml', 'glob']
    .filter((name) => [...loaded].some((url) => url.includes('/node_modules/' + name + '/')))
  const before = packages()
  const [page, script, none] = await Promise.all(
    ['/docs', '/docs/static/swagger-ui-bundle.js', '/docs/static/none.js'].map((url) => app.inject({ url })))
  const after = packages()
  const { openapi } = (await app.inject({ url: '/openapi.json' })).json()
  await app.close()
  console.log(JSON.stringify({ before, after, openapi, title: page.body.includes('A title'),
    script: [script.headers['content-type'], script.rawPayload.length > 100_000], none: none.json().code }))
`

describe('the docs', () => {
  it('are loaded when somebody asks for them, and are all there then', async () => {
    const face = new URL('./mod.ts', import.meta.url).href
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script, face])
    expect(JSON.parse(stdout)).toEqual({
      before: [],
      after: ['@fastify/swagger', '@fastify/swagger-ui', 'yaml', 'glob'],
      openapi: '3.1.0',
      title: true,
      script: [expect.stringContaining('javascript'), true],
      none: 'route_not_found',
    })
  })
})
