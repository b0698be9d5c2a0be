// Sessions of real servers (PostgreSQL 15 and 18), recorded from the scenario of replication/testing.ts: byte for
// byte what a walsender wrote, in the plain protocol and with streamed and prepared transactions.
import { readFileSync, readdirSync } from 'node:fs'
import Type from 'typebox'
import { Parse } from 'typebox/value'
import { describe, expect, it } from 'vitest'
import { PgOutputDecoder } from './decode.ts'
import { unchanged, type PgOutputMessage } from './messages.ts'

const folder = new URL('./recordings/', import.meta.url)
const recordingSchema = Type.Object({
  server: Type.String(),
  protocol: Type.Integer(),
  messages: Type.Array(Type.String()),
})

const recordings = readdirSync(folder).map((file) => {
  const recording = Parse(recordingSchema, JSON.parse(readFileSync(new URL(file, folder), 'utf8')))
  const decoder = new PgOutputDecoder()
  const messages = recording.messages.map((text) => decoder.decode(Buffer.from(text, 'base64')))
  return { label: file.replace('.json', ''), protocol: recording.protocol, messages }
})

const of = <K extends PgOutputMessage['kind']>(messages: readonly PgOutputMessage[], kind: K) =>
  messages.filter((message): message is Extract<PgOutputMessage, { kind: K }> => message.kind === kind)

describe.each(recordings)('the session of $label', ({ protocol, messages }) => {
  it('has every plain change with its values', () => {
    const [first] = of(messages, 'insert')
    expect(first?.row).toEqual(['1', 'one', null, 'glad', 'x'.repeat(2100)])
    const updates = of(messages, 'update')
    expect(updates[0]).toMatchObject({ old: null, row: ['1', 'uno', null, 'glad', unchanged] })
    expect(updates[1]).toMatchObject({
      old: { kind: 'key', values: ['1', null, null, null, null] },
      row: ['2', 'uno', null, 'glad', unchanged],
    })
    expect(updates[2]).toMatchObject({
      old: { kind: 'full', values: ['1', 'é'] },
      row: ['1', 'f'],
    })
    expect(of(messages, 'delete').map(({ old }) => old.kind)).toEqual(['key', 'full'])
  })

  it('describes a table before its first change, and again when it has changed', () => {
    const [item, whole] = of(messages, 'relation').map(({ relation }) => relation)
    expect(item).toMatchObject({ schema: 'public', name: 'item', identity: 'd' })
    expect(item?.columns.map(({ name, isKey }) => [name, isKey])).toEqual([
      ['id', true],
      ['name', false],
      ['note', false],
      ['mood', false],
      ['body', false],
    ])
    expect(whole).toMatchObject({ name: 'whole', identity: 'f' })
    expect(of(messages, 'relation').at(-1)?.relation.columns.at(-1)?.name).toBe('extra')
    expect(of(messages, 'type')[0]).toMatchObject({ schema: 'public', name: 'mood' })
  })

  it('has messages and the truncate', () => {
    expect(of(messages, 'message').map(({ content }) => content.toString())).toEqual(['inside', 'end'])
    expect(of(messages, 'truncate')).toMatchObject([{ cascade: true, restartIdentity: true }])
    expect(of(messages, 'truncate')[0]?.oids).toHaveLength(2)
  })

  it('leaves out what was rolled back, or says so', () => {
    const aborted = new Set(of(messages, 'stream-abort').map(({ subXid }) => subXid))
    const rows = of(messages, 'insert').filter(({ xid }) => xid === null || !aborted.has(xid))
    const ids = rows.map(({ row }) => row[0])
    expect(ids).toContain('10')
    expect(ids).not.toContain('11')
    expect(ids.filter((id) => Number(id) >= 100 && Number(id) <= 620)).toHaveLength(521)
    expect(ids.filter((id) => Number(id) >= 2000 && Number(id) <= 2520)).toHaveLength(0)
    expect(aborted.size > 0).toBe(protocol > 1)
  })

  it('marks prepared transactions where they are asked for', () => {
    const gids = (['begin-prepare', 'prepare', 'commit-prepared', 'rollback-prepared'] as const).map((kind) =>
      of(messages, kind).map(({ gid }) => gid),
    )
    const expected = [['gid-1', 'gid-2'], ['gid-1', 'gid-2'], ['gid-1'], ['gid-2']]
    expect(gids).toEqual(protocol > 1 ? expected : [[], [], [], []])
  })

  it('commits behind every begin, at positions that only go up', () => {
    const ends = messages.flatMap((message) =>
      message.kind === 'commit' || message.kind === 'stream-commit' ? [message] : [],
    )
    for (const { lsn, endLsn } of ends) expect(endLsn).toBeGreaterThan(lsn)
    for (const [index, { lsn }] of ends.entries())
      if (index > 0) expect(lsn).toBeGreaterThan(ends[index - 1]?.lsn ?? lsn)
    const begins = of(messages, 'begin')
    expect(begins.map(({ finalLsn }) => finalLsn)).toEqual(of(messages, 'commit').map(({ lsn }) => lsn))
  })
})
