// The consumer's end of a slot against real servers: what is committed comes once and in order, what is acknowledged
// does not come again, what is too much waits at the server.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from 'pg'
import type { Lsn } from '@fleetshard/core'
import { systemClock } from '../../../runtime/mod.ts'
import { startVersion, targetOf, testVersions } from '../testing.ts'
import type { TestServer } from '../../../local/testing.ts'
import { PgOutputDecoder } from '../pgoutput/decode.ts'
import type { PgOutputMessage } from '../pgoutput/messages.ts'
import { openStream, type ReplicationStream, type StreamEvent } from './stream.ts'
import { recordSession } from './testing.ts'

const signal = AbortSignal.timeout(110_000)
const zero = 0n as Lsn

/** Messages up to the one with that content. */
async function until(stream: ReplicationStream, content: string): Promise<PgOutputMessage[]> {
  const messages: PgOutputMessage[] = []
  for (;;) {
    for (const event of await stream.next(signal)) {
      if (event.kind === 'sent') continue
      messages.push(event.message)
      if (event.message.kind === 'message' && event.message.content.toString() === content) return messages
    }
  }
}

const ids = (messages: readonly PgOutputMessage[]) =>
  messages.flatMap((message) => (message.kind === 'insert' ? [message.row[0]] : []))

describe.each(testVersions)('the stream of a slot on $label', (version) => {
  let server: TestServer
  let client: Client
  beforeAll(async () => {
    server = await startVersion(version, { logical_decoding_work_mem: '64kB' })
  })
  afterAll(() => server[Symbol.asyncDispose]())

  async function withSlot(work: (open: (from?: Lsn) => Promise<ReplicationStream>) => Promise<void>) {
    const database = await server.createDatabase()
    client = await server.connect({ database })
    await client.query('create table t (id int primary key, v text); create publication p for table t')
    const slot = `slot_${database}`
    await client.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [slot])
    await work((from = zero) =>
      openStream(targetOf(server, database), systemClock, { slot, publication: 'p', from }, signal),
    )
    await client.end()
  }

  const mark = (content: string) =>
    client.query(`select pg_logical_emit_message(true, 'test', $1)`, [content])

  it('brings what is committed, in order, and again what was not acknowledged', async () => {
    await withSlot(async (open) => {
      await client.query(`insert into t select i, 'a' from generate_series(1, 3) i`)
      await mark('first')
      let passed = zero
      {
        await using stream = await open()
        const messages = await until(stream, 'first')
        expect(ids(messages)).toEqual(['1', '2', '3'])
        const commit = messages.find((message) => message.kind === 'commit')
        passed = commit?.kind === 'commit' ? commit.endLsn : zero
      }
      {
        await using stream = await open()
        expect(ids(await until(stream, 'first'))).toEqual(['1', '2', '3'])
        stream.acknowledge(passed)
      }
      await client.query(`insert into t values (4, 'b')`)
      await mark('second')
      await using stream = await open()
      expect(ids(await until(stream, 'second'))).toEqual(['4'])
    })
  })

  it('tells the position that was sent when nothing comes, so that the slot of an idle table moves', async () => {
    await withSlot(async (open) => {
      await using stream = await open()
      await client.query('create table other (id int); insert into other select generate_series(1, 1000)')
      const { rows } = await client.query<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn')
      const [high = '', low = ''] = (rows[0]?.lsn ?? '').split('/')
      const wanted = (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`)
      for (;;) {
        const sent = (await stream.next(signal)).findLast((event: StreamEvent) => event.kind === 'sent')
        if (sent?.kind === 'sent' && sent.upTo >= wanted) break
      }
    })
  })

  it('holds a bounded part of a large transaction while nobody reads, and then brings all of it', async () => {
    await withSlot(async (open) => {
      await using stream = await open()
      await client.query(`insert into t select i, repeat('x', 1000) from generate_series(1, 50000) i`)
      await mark('end')
      const counts: number[] = []
      let total = 0
      for (let isEnd = false; !isEnd;) {
        const events = await stream.next(signal)
        counts.push(events.length)
        for (const event of events) {
          if (event.kind !== 'message') continue
          if (event.message.kind === 'insert') total += 1
          isEnd ||= event.message.kind === 'message'
        }
      }
      expect(total).toBe(50_000)
      expect(Math.max(...counts)).toBeLessThan(25_000)
    })
  })

  it('says that a slot is gone, or held by another', async () => {
    await withSlot(async (open) => {
      await using first = await open()
      await expect(open()).rejects.toMatchObject({ code: 'sql_error', sqlstate: '55006' })
      await first[Symbol.asyncDispose]()
    })
    const options = { slot: 'gone', publication: 'p', from: zero }
    await expect(openStream(targetOf(server), systemClock, options, signal)).rejects.toMatchObject({
      sqlstate: '42704',
    })
  })

  it('ends with an error when the server ends the connection, and with the reason of an abort', async () => {
    await withSlot(async (open) => {
      await using stream = await open()
      const waiting = (async () => {
        for (;;) await stream.next(signal)
      })()
      const ended = expect(waiting).rejects.toMatchObject({ code: 'shard_unavailable' })
      await client.query(
        `select pg_terminate_backend(active_pid) from pg_replication_slots where active_pid is not null`,
      )
      await ended
    })
    await withSlot(async (open) => {
      await using stream = await open()
      const stop = new AbortController()
      const waiting = (async () => {
        for (;;) await stream.next(stop.signal)
      })()
      stop.abort(new Error('enough'))
      await expect(waiting).rejects.toThrow('enough')
    })
  })

  it('decodes a session of every kind of change as it comes from this server', async () => {
    const database = await server.createDatabase()
    const session = await server.connect({ database })
    const protocol = Number.parseInt(server.version, 10) >= 16 ? 4 : 3
    const decoder = new PgOutputDecoder()
    const messages = (await recordSession(targetOf(server, database), session, protocol)).map((bytes) =>
      decoder.decode(bytes),
    )
    await session.end()
    const kinds = new Set(messages.map(({ kind }) => kind))
    expect([...kinds].sort()).toEqual(
      [
        'begin',
        'begin-prepare',
        'commit',
        'commit-prepared',
        'delete',
        'insert',
        'message',
        'prepare',
        'relation',
        'rollback-prepared',
        'stream-abort',
        'stream-commit',
        'stream-start',
        'stream-stop',
        'truncate',
        'type',
        'update',
      ].sort(),
    )
  })
})
