// Calls end when they are told to, and say why without a password.
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../runtime/mod.ts'
import { withSession } from './session.ts'
import { claimedDatabase, startVersion, targetOf, testEngine, testVersions } from './testing.ts'

describe.each(testVersions)('control session on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  let silent: Server
  const sockets: Socket[] = []
  beforeAll(async () => {
    server = await startVersion(version)
    silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1')
    await once(silent, 'listening')
  })
  afterAll(async () => {
    for (const socket of sockets) socket.destroy()
    silent.close()
    await server[Symbol.asyncDispose]()
  })

  const silentTarget = () => {
    const address = silent.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    return { ...targetOf(server), port: address.port }
  }

  it('gives up a server that never answers', async () => {
    await expect(testEngine.inspectNode(silentTarget(), { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'deadline_exceeded',
    })
  })

  it('ends at once with the reason of the signal, before, while connecting and in a statement', async () => {
    const reason = new Error('stopped by the test')
    const aborted = AbortSignal.abort(reason)
    await expect(testEngine.inspectNode(targetOf(server), { signal: aborted })).rejects.toBe(reason)

    const connecting = new AbortController()
    const hanging = testEngine.inspectNode(silentTarget(), { signal: connecting.signal })
    connecting.abort(reason)
    await expect(hanging).rejects.toBe(reason)

    const running = new AbortController()
    const bounds = { signal: running.signal, timeoutMs: 30_000 }
    const sleeping = withSession({ clock: systemClock, target: targetOf(server), bounds }, (session) =>
      session.query('select pg_sleep(600)'),
    )
    const watcher = await server.connect()
    for (;;) {
      const { rows } = await watcher.query<{ n: number }>(
        "select count(*)::int as n from pg_stat_activity where query = 'select pg_sleep(600)'",
      )
      if (rows[0]?.n === 1) break
    }
    running.abort(reason)
    await expect(sleeping).rejects.toBe(reason)
    await watcher.end()
  })

  it('makes the server give up a statement by itself, for a caller that is gone', async () => {
    const bounds = { timeoutMs: 200 }
    await expect(
      withSession({ clock: systemClock, target: targetOf(server), bounds }, async (session) => {
        const [row] = await session.query<{ ms: number }>(
          "select setting::int as ms from pg_settings where name = 'statement_timeout'",
        )
        expect(row?.ms).toBeGreaterThan(0)
        expect(row?.ms).toBeLessThanOrEqual(200)
        await session.query('select pg_sleep(600)')
      }),
    ).rejects.toMatchObject({ retryable: true })
  })

  it.each([
    [{ password: 'wrong-hunter2' }, 'node_check_failed', /user and password/],
    [{ password: null }, 'node_check_failed', /give the password/],
    [{ database: 'missing' }, 'node_check_failed', /CREATE DATABASE "missing"/],
    [{ port: 1 }, 'shard_unavailable', /server runs/],
    [{ host: 'no-such-host.invalid' }, 'shard_unavailable', /host, port/],
    [{ tls: 'require' as const }, 'node_check_failed', /ssl on/],
  ])('says what is wrong with %j and what to do', async (change, code, hint) => {
    const target = { ...targetOf(server), ...change }
    const error: unknown = await testEngine.inspectNode(target).catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code, hint: expect.stringMatching(hint) as string })
    expect(
      `${String(error)} ${JSON.stringify(error)} ${JSON.stringify((error as Error).cause)}`,
    ).not.toContain('hunter2')
  })

  it('is not fooled by objects of the user that stand in for built-in ones', async () => {
    const target = await claimedDatabase(server, 'a')
    const owner = await server.connect({ database: target.database })
    await owner.query(
      `create function public.pg_is_in_recovery() returns boolean language sql as 'select true'`,
    )
    await owner.query('create table public.pg_class (x int)')
    await owner.query('alter database current set search_path = public, pg_catalog').catch(() => undefined)
    await owner.query(`alter role ${server.user} set search_path = public, pg_catalog`)
    expect(await testEngine.inspectNode(target)).toMatchObject({ inRecovery: false })
    expect((await testEngine.describeTables(target)).map(({ name }) => name)).toEqual(['public.pg_class'])
    await owner.query(`alter role ${server.user} reset search_path`)
    await owner.end()
  })

  it('has a statement that is asked often parsed once, and again when its columns are others', async () => {
    const parts = { clock: systemClock, target: targetOf(server), bounds: { timeoutMs: 30_000 } }
    await withSession(parts, async (session) => {
      const prepared = async () =>
        (await session.query<{ n: number }>('select count(*)::int as n from pg_prepared_statements'))[0]?.n
      await session.query('create temp table often (a int)')
      await session.query('insert into often values (1)')
      const ask = () => session.queryPrepared('select * from pg_temp.often')
      expect(await ask()).toEqual([{ a: 1 }])
      expect(await ask()).toEqual([{ a: 1 }])
      expect(await prepared()).toBe(1)
      await session.query("alter table often add b text default 'x'")
      expect(await ask()).toEqual([{ a: 1, b: 'x' }])
      await expect(session.queryPrepared('select 1/0')).rejects.toMatchObject({ fields: { code: '22012' } })
      expect(await ask()).toEqual([{ a: 1, b: 'x' }])
    })
  })

  it('leaves no connection behind', async () => {
    await testEngine.inspectNode(targetOf(server))
    const watcher = await server.connect()
    for (;;) {
      const { rows } = await watcher.query<{ n: number }>(
        "select count(*)::int as n from pg_stat_activity where application_name = 'fleetshard/control' and datname = $1",
        [server.database],
      )
      if (rows[0]?.n === 0) break
    }
    await watcher.end()
  })

  it('tells facts of the server', async () => {
    const facts = await testEngine.inspectNode(targetOf(server))
    expect(facts).toMatchObject({
      inRecovery: false,
      readOnly: false,
      database: { name: server.database, encoding: 'UTF8' },
      timeline: 1,
      walLevel: 'logical',
      upstream: null,
      mayCreate: true,
      superuser: false,
      identity: null,
    })
    expect(facts.systemId).toMatch(/^\d+$/)
    expect(facts.version).toMatch(/^\d+\.\d+$/)
    const later = await testEngine.inspectNode(targetOf(server))
    if (facts.position === null || later.position === null) throw new Error('no position')
    expect(testEngine.compare(facts.position, later.position)).toBeLessThanOrEqual(0)
    expect(testEngine.compare(later.position, later.position)).toBe(0)
  })
})
