// Control sessions under TLS: who is verified, what is shown, and that new certificates are taken at the next session.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeSecureContext, type TlsTexts } from '@fleetshard/core/tls'
import { systemClock } from '../../runtime/mod.ts'
import type { NodeTarget } from '../shard-engine.ts'
import { withSession } from './session.ts'
import { postgresBuilds, startTestPostgres, testPassword, type TestPostgres } from './wire/testing.ts'

describe.each(postgresBuilds())('a control session under TLS ($name)', (build) => {
  let server: TestPostgres
  beforeAll(async () => {
    server = await startTestPostgres(build)
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
  })

  const targetOf = (over: Partial<NodeTarget>): NodeTarget => ({
    host: '127.0.0.1',
    port: server.port,
    database: 'postgres',
    user: 'tls',
    password: testPassword,
    tls: 'verify-full',
    ...over,
  })
  const isEncrypted = (target: NodeTarget): Promise<unknown> =>
    withSession({ clock: systemClock, target, bounds: {} }, async (session) => {
      const [row] = await session.query('select ssl from pg_stat_ssl where pid = pg_backend_pid()')
      return row
    })
  const trusting = (ca: string) => () => makeSecureContext({ ca, certificate: null, key: null })

  it.each(['127.0.0.1', 'localhost'])('verifies the server at %s', async (host) => {
    expect(await isEncrypted(targetOf({ host, tlsContext: trusting(server.ca) }))).toEqual({ ssl: true })
    const untrusted = isEncrypted(targetOf({ host, tlsContext: trusting(server.otherCa) }))
    await expect(untrusted).rejects.toMatchObject({ code: 'node_check_failed' })
    await expect(isEncrypted(targetOf({ host }))).rejects.toThrow(/certificate/)
  })

  it('refuses a server whose certificate does not name its host', async () => {
    const elsewhere = targetOf({ host: '127.0.0.2', tlsContext: trusting(server.ca) })
    // The server listens on one address only; what listens for us here stands for a name of another machine.
    const { createServer, connect } = await import('node:net')
    const relay = createServer((socket) => {
      socket.pipe(connect(server.port, '127.0.0.1')).pipe(socket)
      socket.on('error', () => undefined)
    })
    await new Promise<void>((resolve) => relay.listen(0, '127.0.0.2', resolve))
    const address = relay.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    await expect(isEncrypted({ ...elsewhere, port })).rejects.toThrow(/altnames/)
    relay.close()
  })

  it('shows the certificate of the moment', async () => {
    let texts: TlsTexts = { ca: server.ca, certificate: null, key: null }
    const target = targetOf({ user: 'mutual', tlsContext: () => makeSecureContext(texts) })
    await expect(isEncrypted(target)).rejects.toThrow(/valid client certificate/)
    texts = { ca: server.ca, ...server.identity }
    expect(await isEncrypted(target)).toEqual({ ssl: true })
  })
})
