import { FleetError, isFleetError } from '@fleetshard/core'
import { makeSecureContext } from '@fleetshard/core/tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../../runtime/mod.ts'
import {
  backendCode,
  WireWriter,
  writeCopyData,
  writeCopyDone,
  writeExtendedGroup,
  writeQuery,
} from '@fleetshard/routing/pgwire'
import { exec, query } from '@fleetshard/routing/wire'
import { connectServer } from '@fleetshard/routing/wire'
import { RecordingSink, type Recorded } from './testing-sinks.ts'
import { postgresBuilds, startTestPostgres, testPassword, type TestPostgres } from './testing.ts'
import type { GroupSink, ServerConnection, ServerNotification } from '@fleetshard/routing/wire'

function simple(connection: ServerConnection, text: string): Promise<Recorded> {
  const sink = new RecordingSink()
  connection.submitWith((out) => {
    writeQuery(out, text)
  }, sink)
  return sink.ended
}

/** Resolves when the condition holds; the test's own timeout bounds it. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await systemClock.sleep(5)
}

describe.each(postgresBuilds())('a connection to Postgres ($name)', (build) => {
  let server: TestPostgres
  const open: ServerConnection[] = []
  const connect: TestPostgres['connect'] = async (over) => {
    const connection = await server.connect(over)
    open.push(connection)
    return connection
  }
  const tcp = (user: string): { host: string; user: string; password: string } => ({
    host: '127.0.0.1',
    user,
    password: testPassword,
  })

  beforeAll(async () => {
    server = await startTestPostgres(build)
  })
  afterAll(async () => {
    await Promise.all(open.map((connection) => connection.close()))
    await server[Symbol.asyncDispose]()
  })

  describe('logs in', () => {
    it.each(['scram', 'md5', 'clear', 'trusted'])('by %s over loopback', async (user) => {
      const connection = await connect(tcp(user))
      expect((await query(connection, 'select current_user, $1::text', ['ü'])).rows).toEqual([[user, 'ü']])
      expect(connection.parameters.get('client_encoding')).toBe('UTF8')
      expect(connection.processId).toBeGreaterThan(0)
      expect(connection.transactionStatus).toBe('idle')
    })

    it('over TLS with the certificate verified, and binds SCRAM to it', async () => {
      const connection = await connect({
        ...tcp('tls'),
        host: 'localhost',
        tls: 'verify-full',
        ca: server.ca,
      })
      const { rows } = await query(connection, 'select ssl from pg_stat_ssl where pid = pg_backend_pid()')
      expect(rows).toEqual([['t']])
      const byAddress = await connect({ ...tcp('tls'), tls: 'verify-full', ca: server.ca })
      expect((await query(byAddress, 'select 1')).rows).toEqual([['1']])
      const unverified = await connect({ ...tcp('tls'), tls: 'require' })
      expect((await query(unverified, 'select 1')).rows).toEqual([['1']])
    })

    it('over TLS with a certificate of its own, where the server wants to see one', async () => {
      const { ca, identity } = server
      const none = () => makeSecureContext({ ca, certificate: null, key: null })
      const own = () => makeSecureContext({ ca, ...identity })
      const over = { ...tcp('mutual'), tls: 'verify-full' as const }
      await expect(connect({ ...over, tlsContext: none })).rejects.toThrow(/valid client certificate/)
      const connection = await connect({ ...over, tlsContext: own })
      const shown = 'select client_serial is not null from pg_stat_ssl where pid = pg_backend_pid()'
      expect((await query(connection, shown)).rows).toEqual([['t']])
    })

    it('with the settings asked for', async () => {
      const connection = await connect({
        applicationName: 'lane 7',
        startupSettings: { default_transaction_read_only: 'on', lock_timeout: '250ms' },
      })
      const { rows } = await query(
        connection,
        `select current_setting('default_transaction_read_only'), current_setting('lock_timeout'),
                current_setting('application_name')`,
      )
      expect(rows).toEqual([['on', '250ms', 'lane 7']])
    })
  })

  describe('says why it cannot connect', () => {
    it.each([
      ['a wrong password', { user: 'scram', password: 'wrong' }, /password authentication failed/, '28P01'],
      ['a wrong md5 password', { user: 'md5', password: 'wrong' }, /password authentication failed/, '28P01'],
      ['no password', { user: 'scram', password: null }, /none is known/, undefined],
      ['an unknown database', { user: 'trusted', database: 'nowhere' }, /"nowhere" does not exist/, '3D000'],
      ['no entry in pg_hba.conf', { user: 'tls', tls: 'disable' as const }, /no pg_hba.conf entry/, '28000'],
      [
        'a setting that does not exist',
        { user: 'trusted', startupSettings: { nonsense: '1' } },
        /nonsense/,
        '42704',
      ],
    ])('%s', async (_what, over, message, sqlstate) => {
      const error: unknown = await connect({ ...tcp('scram'), ...over }).catch((caught: unknown) => caught)
      if (!isFleetError(error, 'shard_unavailable')) throw error
      expect(error.message).toMatch(message)
      expect(error.message).toContain(`127.0.0.1:${String(server.port)}`)
      expect(error.facts['server_sqlstate']).toBe(sqlstate)
      expect(error.retryable).toBe(false)
      expect(error.hint).toBeTruthy()
      expect(JSON.stringify([error, error.message, error.stack, String(error.cause)])).not.toContain(
        testPassword,
      )
    })

    it('a certificate of a foreign authority', async () => {
      const over = { ...tcp('tls'), tls: 'verify-full' as const, ca: server.otherCa }
      await expect(connect(over)).rejects.toMatchObject({ code: 'shard_unavailable', retryable: false })
      await expect(connect(over)).rejects.toThrow(/certificate|signature/i)
    })

    it('a port where nobody listens', async () => {
      const error: unknown = await connect({ ...tcp('scram'), port: 1 }).catch((caught: unknown) => caught)
      expect(error).toMatchObject({ code: 'shard_unavailable', retryable: true })
      expect(String(error)).toContain('connection refused')
      await expect(connect({ host: '/nowhere' })).rejects.toThrow(/ENOENT/)
    })

    it('an abort', async () => {
      const reason = new Error('given up')
      const connecting = connectServer(server.options(), systemClock, AbortSignal.abort(reason))
      await expect(connecting).rejects.toBe(reason)
    })
  })

  it('answers 1,000 pipelined groups in order, with errors in the middle', async () => {
    const connection = await connect()
    const groups = Array.from({ length: 1000 }, (_, index) => {
      const sink = new RecordingSink()
      const text = index % 10 === 3 ? 'select 1 / ($1::int - $1::int)' : 'select $1::int'
      connection.submitWith((out) => {
        const parse = { text, paramTypes: [] }
        writeExtendedGroup(out, {
          statement: '',
          parse,
          params: [String(index)],
          resultFormat: 0,
          describe: false,
        })
      }, sink)
      return sink.ended
    })
    expect(connection.inFlight).toBe(1000)
    const answers = await Promise.all(groups)
    for (const [index, answer] of answers.entries()) {
      expect(answer.status).toBe('idle')
      if (index % 10 === 3) expect(answer).toMatchObject({ sqlstate: '22012', rows: [] })
      else expect(answer).toMatchObject({ sqlstate: null, rows: [[String(index)]], types: '12DCZ' })
    }
    expect(connection.inFlight).toBe(0)
    expect(connection.headSinceMs).toBeNull()
  })

  it('gives notices and settings to the group that causes them, notifications to the owner', async () => {
    const heard: ServerNotification[] = []
    const connection = await connect({ onNotification: (notification) => heard.push(notification) })
    const answers = await Promise.all([
      simple(connection, `do $$ begin raise notice 'one'; end $$`),
      simple(connection, 'select 1'),
      simple(connection, `do $$ begin raise warning 'two'; end $$; set application_name = 'renamed'`),
      simple(connection, `listen news; notify news, 'hello'`),
    ])
    expect(answers.map(({ notices }) => notices)).toEqual([['one'], [], ['two'], []])
    expect(answers[2]?.types).toBe('NCCSZ')
    expect(connection.parameters.get('application_name')).toBe('renamed')
    await until(() => heard.length > 0)
    expect(heard).toEqual([{ processId: connection.processId, channel: 'news', payload: 'hello' }])
  })

  it('tells the state of the transaction', async () => {
    const connection = await connect()
    expect((await simple(connection, 'begin')).status).toBe('transaction')
    expect((await simple(connection, 'select nonsense')).status).toBe('failed')
    expect(connection.transactionStatus).toBe('failed')
    expect((await simple(connection, 'rollback')).status).toBe('idle')
  })

  it('copies in and out', async () => {
    const connection = await connect()
    await exec(connection, 'create temp table copied (id int)')
    const sink = new RecordingSink()
    const out = new WireWriter()
    writeQuery(out, 'copy copied from stdin')
    connection.submit(out.bytes(), sink)
    for (let id = 0; id < 1000; id += 1) {
      out.reset()
      writeCopyData(out, Buffer.from(`${String(id)}\n`))
      connection.append(out.bytes())
    }
    out.reset()
    writeCopyDone(out)
    connection.append(out.bytes())
    await connection.drained()
    expect((await sink.ended).tags).toEqual(['COPY 1000'])
    expect(() => connection.append(out.bytes())).toThrow(/already answered/)
    const copied = await simple(connection, 'copy copied to stdout')
    expect(copied.types).toBe(`H${'d'.repeat(1000)}cCZ`)
  })

  describe('cancels what runs', () => {
    it.each(['disable', 'require'] as const)('with TLS mode %s', async (tls) => {
      const connection = await connect({ ...tcp('scram'), tls })
      const watcher = await connect()
      const running = simple(connection, 'select pg_sleep(60)')
      await until(async () => {
        const text = `select count(*) from pg_stat_activity where pid = $1::int and wait_event = 'PgSleep'`
        return (await query(watcher, text, [String(connection.processId)])).rows[0]?.[0] === '1'
      })
      expect(connection.headSinceMs).not.toBeNull()
      await connection.cancel({ timeoutMs: 10_000 })
      expect((await running).sqlstate).toBe('57014')
      expect((await query(connection, 'select 1')).rows).toEqual([['1']])
    })
  })

  it('fails what is in flight when its backend is ended, and knows what was never begun', async () => {
    const connection = await connect()
    const watcher = await connect()
    await exec(watcher, 'create table witness (id int)')
    const first = simple(connection, 'insert into witness values (1)')
    const running = simple(connection, 'select pg_sleep(60)')
    const behind = simple(connection, 'insert into witness values (2)')
    await first
    await until(async () => {
      const text = `select count(*) from pg_stat_activity where pid = $1::int and wait_event = 'PgSleep'`
      return (await query(watcher, text, [String(connection.processId)])).rows[0]?.[0] === '1'
    })
    await query(watcher, 'select pg_terminate_backend($1::int)', [String(connection.processId)])
    const [head, next] = await Promise.all([running, behind])
    expect(head).toMatchObject({
      sqlstate: '57P01',
      lost: { sent: true, error: { code: 'shard_unavailable' } },
    })
    expect(next).toMatchObject({ types: '', lost: { sent: false } })
    expect(await connection.closed).toMatchObject({ facts: { server_sqlstate: '57P01' } })
    expect(connection.state).toBe('closed')
    const late = await simple(connection, 'select 1')
    expect(late.lost).toMatchObject({ sent: false, error: { code: 'shard_unavailable' } })
    expect((await query(watcher, 'select id from witness')).rows).toEqual([['1']])
    await exec(watcher, 'drop table witness')
  })

  it('does not say of a lost group that it was not sent, unless it still lies here', async () => {
    const connection = await connect()
    const written = simple(connection, 'select pg_sleep(60)')
    await connection.drained()
    const waiting = simple(connection, 'select 1')
    const error = new FleetError('shutting_down', 'the test ends it')
    connection.destroy(error)
    expect((await written).lost).toMatchObject({ sent: true, error })
    expect((await waiting).lost).toMatchObject({ sent: false, error })
    expect(await connection.closed).toBe(error)
  })

  it('closes after the groups in flight, and takes no more', async () => {
    const connection = await connect()
    const last = simple(connection, 'select 1')
    const closing = connection.close()
    expect(connection.state).toBe('closing')
    const refused = await simple(connection, 'select 2')
    expect(refused.lost?.sent).toBe(false)
    expect((await last).rows).toEqual([['1']])
    await closing
    expect(await connection.closed).toBeNull()
    await connection.close()
  })

  it('refuses more groups and more bytes than its bounds', async () => {
    const connection = await connect({ inFlightMax: 3, outgoingBytesMax: 1000 })
    const taken = [simple(connection, 'select 1'), simple(connection, 'select 2')]
    const large = Buffer.alloc(990)
    expect(() => {
      connection.submit(large, new RecordingSink())
    }).toThrow(expect.toSatisfy((error: unknown) => isFleetError(error, 'overloaded')) as Error)
    taken.push(simple(connection, 'select 3'))
    await expect(async () => simple(connection, 'select 4')).rejects.toMatchObject({ code: 'overloaded' })
    expect((await Promise.all(taken)).map(({ rows }) => rows)).toEqual([[['1']], [['2']], [['3']]])
  })

  it('takes nothing of a group whose encoder throws', async () => {
    const connection = await connect()
    const first = simple(connection, 'select 1')
    expect(() => {
      connection.submitWith((out) => {
        writeQuery(out, 'select 2')
        writeQuery(out, 'select \0')
      }, new RecordingSink())
    }).toThrow(/zero byte/)
    expect((await first).rows).toEqual([['1']])
    expect((await simple(connection, 'select 3')).rows).toEqual([['3']])
  })

  it('is lost, with all its groups, when a sink throws', async () => {
    const connection = await connect()
    const broken: GroupSink = {
      message: () => {
        throw new Error('a defect')
      },
      done: () => undefined,
      failed: () => undefined,
    }
    connection.submitWith((out) => {
      writeQuery(out, 'select 1')
    }, broken)
    const next = simple(connection, 'select 2')
    expect((await next).lost?.error).toMatchObject({ code: 'internal', cause: { message: 'a defect' } })
  })

  it('ends a group once when its sink destroys the connection at the last message', async () => {
    const connection = await connect()
    const ends: string[] = []
    const reason = new FleetError('shutting_down', 'the sink ends it')
    const sink: GroupSink = {
      message: (type) => {
        if (type === backendCode.readyForQuery) connection.destroy(reason)
      },
      done: () => {
        ends.push('done')
      },
      failed: () => {
        ends.push('failed')
      },
    }
    connection.submitWith((out) => {
      writeQuery(out, 'select 1')
    }, sink)
    expect(await connection.closed).toBe(reason)
    expect(ends).toEqual(['failed'])
  })

  it('holds a 200 MB result back while paused, and little of it at any time', async () => {
    const connection = await connect()
    let bytes = 0
    let rows = 0
    let incomingMax = 0
    const finished = Promise.withResolvers<void>()
    const count = (size: number): void => {
      bytes += size
      incomingMax = Math.max(incomingMax, connection.incomingBytes)
    }
    const sink: GroupSink = {
      message: (type, _buf, start, end) => {
        if (type !== backendCode.dataRow) return
        rows += 1
        count(end - start)
        if (rows === 5) connection.pause()
      },
      piece: (_buf, start, end, bytesLeft) => {
        count(end - start)
        if (bytesLeft === 0) rows += 1
      },
      done: () => {
        finished.resolve()
      },
      failed: (error) => {
        finished.reject(error)
      },
    }
    // Small rows, then rows larger than any chunk.
    const text = `select repeat('x', case when n < 5000 then 20000 else 1000000 end) from generate_series(0, 5099) n`
    connection.submitWith((out) => {
      writeQuery(out, text)
    }, sink)
    await until(() => connection.paused)
    const atPause = bytes
    const watcher = await connect()
    await until(async () => {
      const activity = `select wait_event from pg_stat_activity where pid = $1::int`
      return (await query(watcher, activity, [String(connection.processId)])).rows[0]?.[0] === 'ClientWrite'
    })
    expect(bytes).toBe(atPause)
    expect(atPause).toBeLessThan(200_000)
    connection.resume()
    await finished.promise
    expect(rows).toBe(5100)
    expect(bytes).toBeGreaterThan(200_000_000)
    expect(incomingMax).toBeLessThan(100_000)
  })

  it('collects a large row for a sink that takes no pieces, up to its limit', async () => {
    const connection = await connect({ messageBytesMax: 2_000_000 })
    const answer = await simple(connection, `select repeat('x', 1000000)`)
    expect(answer.rows[0]?.[0]).toHaveLength(1_000_000)
    const beyond = await simple(connection, `select repeat('x', 3000000)`)
    expect(beyond.lost).toMatchObject({ sent: true, error: { code: 'shard_unavailable' } })
    expect(beyond.lost?.error.message).toMatch(/larger than the limit of 2000000/)
  })

  it('runs small queries within their limits', async () => {
    const connection = await connect()
    const { fields, rows, tag } = await query(connection, 'select 1 as a, null as b')
    expect(fields.map(({ name }) => name)).toEqual(['a', 'b'])
    expect(rows).toEqual([['1', null]])
    expect(tag).toBe('SELECT 1')
    const many = 'select generate_series(1, 20)'
    await expect(query(connection, many, [], { rowsMax: 10 })).rejects.toMatchObject({
      code: 'result_too_large',
    })
    await expect(query(connection, many, [], { bytesMax: 50 })).rejects.toMatchObject({
      code: 'result_too_large',
    })
    await expect(query(connection, 'select 1/0')).rejects.toMatchObject({
      code: 'sql_error',
      sqlstate: '22012',
    })
    await expect(exec(connection, 'nonsense')).rejects.toMatchObject({
      sqlstate: '42601',
      facts: { position: 1 },
    })
    const reason = new Error('given up')
    const abort = new AbortController()
    const slow = query(connection, 'select pg_sleep(0.05)', [], { signal: abort.signal })
    abort.abort(reason)
    await expect(slow).rejects.toBe(reason)
    expect((await query(connection, 'select 2')).rows).toEqual([['2']])
  })
})
