// One session for many looks, and what is no answer although a session answers.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../../runtime/mod.ts'
import type { NodeProber } from '../../health-engine.ts'
import { controlApplicationName } from '../session.ts'
import { startVersion, targetOf, testVersions } from '../testing.ts'
import { createPostgresHealthEngine } from './engine.ts'
import { Knocks } from './knocks.ts'

const engine = createPostgresHealthEngine({ clock: systemClock })
/** Longer than any of these tests. */
const lifeMs = 600_000

describe.each(testVersions)('prober on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  beforeAll(async () => {
    server = await startVersion(version)
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
  })

  const look = (prober: NodeProber, timeoutMs = 10_000) =>
    prober.probe({ signal: new AbortController().signal, timeoutMs })

  /** Backends of the probers, or with `do` what is done to each of them. */
  const sessions = async (select = 'pid'): Promise<readonly number[]> => {
    const client = await server.connect()
    try {
      const { rows } = await client.query<{ pid: number }>(
        `select pid, ${select} from pg_stat_activity where application_name = $1`,
        [controlApplicationName],
      )
      return rows.map(({ pid }) => pid)
    } finally {
      await client.end()
    }
  }
  const postmaster = async (): Promise<number> => {
    const client = await server.connect({ superuser: true })
    const { rows } = await client.query<{ file: string }>("select pg_read_file('postmaster.pid') as file")
    await client.end()
    return Number.parseInt(rows[0]?.file ?? '', 10)
  }
  const noSession = async (): Promise<void> => {
    while ((await sessions()).length > 0) await systemClock.sleep(5)
  }

  it('keeps one session, and lets go of it', async () => {
    const prober = engine.prober(targetOf(server), lifeMs)
    const first = await look(prober)
    expect(first).toMatchObject({ inRecovery: false, timeline: 1, senders: [] })
    const before = await sessions()
    expect(before).toHaveLength(1)
    await look(prober)
    await look(prober)
    expect(await sessions()).toEqual(before)
    prober[Symbol.dispose]()
    await noSession()
  })

  it('asks over a new session when the old one has ended', async () => {
    using prober = engine.prober(targetOf(server), lifeMs)
    await look(prober)
    const [before] = await sessions('pg_terminate_backend(pid)')
    expect(await look(prober)).toMatchObject({ inRecovery: false })
    const [after] = await sessions()
    expect(after).toBeTypeOf('number')
    expect(after).not.toBe(before)
  })

  it('knocks once for all that ask at about the same time', async () => {
    const knocks = new Knocks(systemClock)
    const target = targetOf(server)
    const first = knocks.at(target, 10_000)
    expect(knocks.at({ ...target, database: 'another' }, 10_000)).toBe(first)
    await first
    while (knocks.at(target, 10_000) === first) await systemClock.sleep(20)
    const nobody = knocks.at({ ...target, port: 1 }, 10_000)
    expect(nobody).not.toBe(first)
    await expect(nobody).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  it('has no answer of a server whose sessions go on but that takes no new one', async () => {
    using prober = engine.prober(targetOf(server), lifeMs)
    await look(prober)
    const pid = await postmaster()
    process.kill(pid, 'SIGSTOP')
    try {
      await expect(look(prober, 400)).rejects.toMatchObject({ code: 'deadline_exceeded' })
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    expect(await look(prober)).toMatchObject({ inRecovery: false })
  })

  it('has no answer of a session that hangs', async () => {
    using prober = engine.prober(targetOf(server), lifeMs)
    await look(prober)
    const [backend = 0] = await sessions()
    process.kill(backend, 'SIGSTOP')
    try {
      await expect(look(prober, 400)).rejects.toMatchObject({ code: 'deadline_exceeded' })
    } finally {
      process.kill(backend, 'SIGCONT')
    }
    expect(await look(prober)).toMatchObject({ inRecovery: false })
  })

  it('a session that is relieved tells what the server bears, and ends', async () => {
    using prober = engine.prober(targetOf(server), 0)
    await look(prober)
    expect(prober.figures).toBe(null)
    const [first = 0] = await sessions()
    await look(prober)
    await expect.poll(() => prober.figures).toMatchObject({ connectionsLimit: expect.any(Number) as number })
    expect(prober.figures?.databaseBytes).toBeGreaterThan(1_000_000)
    await expect.poll(() => sessions()).not.toContain(first)
    const kept = await sessions()
    expect(kept).toHaveLength(1)
    await look(prober)
    expect(await sessions()).toEqual(kept)
    prober[Symbol.dispose]()
    await noSession()
  })

  it('overlapping looks leave one session', async () => {
    const prober = engine.prober(targetOf(server), lifeMs)
    await Promise.all([look(prober), look(prober), look(prober)])
    prober[Symbol.dispose]()
    await noSession()
  })

  it('ends with the reason of the signal', async () => {
    using prober = engine.prober(targetOf(server), lifeMs)
    const reason = new Error('stopped by the test')
    await expect(prober.probe({ signal: AbortSignal.abort(reason), timeoutMs: 1_000 })).rejects.toBe(reason)
    await look(prober)
    await expect(prober.probe({ signal: AbortSignal.abort(reason), timeoutMs: 1_000 })).rejects.toBe(reason)
  })
})
