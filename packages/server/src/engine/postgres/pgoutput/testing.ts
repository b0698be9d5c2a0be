// For the tests of this folder: the encoder of pgoutput's messages, arbitrary ones, and the form of recordings.
import fc from 'fast-check'
import type { Lsn } from '@fleetshard/core'
import { WireWriter } from '@fleetshard/routing/pgwire'
import { unchanged, type OldTuple, type PgOutputMessage, type Tuple } from './messages.ts'

const letters: Readonly<Record<PgOutputMessage['kind'], string>> = {
  begin: 'B',
  commit: 'C',
  origin: 'O',
  relation: 'R',
  type: 'Y',
  insert: 'I',
  update: 'U',
  delete: 'D',
  truncate: 'T',
  message: 'M',
  'stream-start': 'S',
  'stream-stop': 'E',
  'stream-commit': 'c',
  'stream-abort': 'A',
  'begin-prepare': 'b',
  prepare: 'P',
  'stream-prepare': 'p',
  'commit-prepared': 'K',
  'rollback-prepared': 'r',
}

const letter = (out: WireWriter, text: string): void => {
  out.uint8(text.charCodeAt(0))
}

function int64(out: WireWriter, value: bigint): void {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(BigInt.asIntN(64, value))
  out.raw(bytes)
}

function text(out: WireWriter, value: string): void {
  out.raw(Buffer.from(`${value}\0`))
}

function encodeTuple(out: WireWriter, tuple: Tuple): void {
  out.int16(tuple.length)
  for (const value of tuple) {
    if (value === null) letter(out, 'n')
    else if (value === unchanged) letter(out, 'u')
    else {
      letter(out, typeof value === 'string' ? 't' : 'b')
      const bytes = Buffer.from(value)
      out.int32(bytes.length)
      out.raw(bytes)
    }
  }
}

function encodeOld(out: WireWriter, old: OldTuple): void {
  letter(out, old.kind === 'key' ? 'K' : 'O')
  encodeTuple(out, old.values)
}

type Ends = Extract<PgOutputMessage, { kind: 'commit' }>

function encodeEnding(out: WireWriter, { lsn, endLsn, timeUs }: Omit<Ends, 'kind'>): void {
  for (const value of [lsn, endLsn, timeUs]) int64(out, value)
}

function encodeRow(out: WireWriter, message: PgOutputMessage): void {
  if (message.kind !== 'insert' && message.kind !== 'update' && message.kind !== 'delete') return
  out.int32(message.oid)
  if (message.kind !== 'insert' && message.old !== null) encodeOld(out, message.old)
  if (message.kind === 'delete') return
  letter(out, 'N')
  encodeTuple(out, message.row)
}

/** The bytes of a message as Postgres writes them. */
export function encodeMessage(message: PgOutputMessage): Buffer {
  const out = new WireWriter()
  letter(out, letters[message.kind])
  if ('xid' in message && 'kind' in message && changes.has(message.kind) && message.xid !== null)
    out.int32(message.xid)
  encodeBody(out, message)
  return Buffer.from(out.bytes())
}

const changes = new Set<PgOutputMessage['kind']>([
  'relation',
  'type',
  'insert',
  'update',
  'delete',
  'truncate',
  'message',
])

function encodeBody(out: WireWriter, message: PgOutputMessage): void {
  switch (message.kind) {
    case 'begin':
      int64(out, message.finalLsn)
      int64(out, message.timeUs)
      out.int32(message.xid)
      break
    case 'commit':
      out.uint8(0)
      encodeEnding(out, message)
      break
    case 'origin':
      int64(out, message.lsn)
      text(out, message.name)
      break
    case 'relation':
      encodeRelation(out, message.relation)
      break
    case 'type':
      out.int32(message.oid)
      text(out, message.schema)
      text(out, message.name)
      break
    case 'truncate':
      out.int32(message.oids.length)
      out.uint8((message.cascade ? 1 : 0) | (message.restartIdentity ? 2 : 0))
      for (const oid of message.oids) out.int32(oid)
      break
    case 'message':
      out.uint8(message.transactional ? 1 : 0)
      int64(out, message.lsn)
      text(out, message.prefix)
      out.int32(message.content.length)
      out.raw(message.content)
      break
    default:
      encodeRow(out, message)
      encodeMarker(out, message)
  }
}

function encodeRelation(
  out: WireWriter,
  { oid, schema, name, identity, columns }: Extract<PgOutputMessage, { kind: 'relation' }>['relation'],
): void {
  out.int32(oid)
  text(out, schema)
  text(out, name)
  letter(out, identity)
  out.int16(columns.length)
  for (const column of columns) {
    out.uint8(column.isKey ? 1 : 0)
    text(out, column.name)
    out.int32(column.typeOid)
    out.int32(column.typeModifier)
  }
}

function encodeMarker(out: WireWriter, message: PgOutputMessage): void {
  switch (message.kind) {
    case 'stream-start':
      out.int32(message.xid)
      out.uint8(message.isFirst ? 1 : 0)
      break
    case 'stream-commit':
      out.int32(message.xid)
      out.uint8(0)
      encodeEnding(out, message)
      break
    case 'stream-abort':
      out.int32(message.xid)
      out.int32(message.subXid)
      if (message.at !== null) for (const value of [message.at.lsn, message.at.timeUs]) int64(out, value)
      break
    case 'begin-prepare':
    case 'prepare':
    case 'stream-prepare':
    case 'commit-prepared':
      if (message.kind !== 'begin-prepare') out.uint8(0)
      encodeEnding(out, message)
      out.int32(message.xid)
      text(out, message.gid)
      break
    case 'rollback-prepared':
      out.uint8(0)
      for (const value of [message.prepareEndLsn, message.endLsn, message.prepareTimeUs, message.timeUs])
        int64(out, value)
      out.int32(message.xid)
      text(out, message.gid)
      break
    default:
  }
}

const xids = fc.integer({ min: 0, max: 0xffffffff })
const times = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
const lsns = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => value as Lsn)
const names = fc.string({ unit: 'grapheme', maxLength: 20 }).map((name) => name.replaceAll('\0', ''))
const values = fc.oneof(
  names,
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  fc.constant(null),
  fc.constant(unchanged),
)
const tuples = fc.array(values, { maxLength: 8 })
const olds = fc.record({ kind: fc.constantFrom('key' as const, 'full' as const), values: tuples })
const ends = { lsn: lsns, endLsn: lsns, timeUs: times }
const prepared = { ...ends, xid: xids, gid: names }

const relations = fc.record({
  oid: xids,
  schema: names,
  name: names,
  identity: fc.constantFrom('d' as const, 'n' as const, 'f' as const, 'i' as const),
  columns: fc.array(
    fc.record({
      isKey: fc.boolean(),
      name: names,
      typeOid: xids,
      typeModifier: fc.integer({ min: -1, max: 2 ** 31 - 1 }),
    }),
    { maxLength: 5 },
  ),
})

/** Changes outside of a streamed block (`xid` null), or within one. */
export function arbitraryChange(xid: fc.Arbitrary<number | null>): fc.Arbitrary<PgOutputMessage> {
  const kind = <K extends PgOutputMessage['kind']>(name: K) => fc.constant(name)
  return fc.oneof(
    fc.record({ kind: kind('relation'), xid, relation: relations }),
    fc.record({ kind: kind('type'), xid, oid: xids, schema: names, name: names }),
    fc.record({ kind: kind('insert'), xid, oid: xids, row: tuples }),
    fc.record({ kind: kind('update'), xid, oid: xids, old: fc.option(olds), row: tuples }),
    fc.record({ kind: kind('delete'), xid, oid: xids, old: olds }),
    fc.record({
      kind: kind('truncate'),
      xid,
      oids: fc.array(xids, { maxLength: 5 }),
      cascade: fc.boolean(),
      restartIdentity: fc.boolean(),
    }),
    fc.record({
      kind: kind('message'),
      xid,
      transactional: fc.boolean(),
      lsn: lsns,
      prefix: names,
      content: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    }),
  )
}

/** Messages that stand outside of streamed blocks. */
export function arbitraryMarker(): fc.Arbitrary<PgOutputMessage> {
  const kind = <K extends PgOutputMessage['kind']>(name: K) => fc.constant(name)
  return fc.oneof(
    fc.record({ kind: kind('begin'), finalLsn: lsns, timeUs: times, xid: xids }),
    fc.record({ kind: kind('commit'), ...ends }),
    fc.record({ kind: kind('origin'), lsn: lsns, name: names }),
    fc.record({ kind: kind('stream-commit'), xid: xids, ...ends }),
    fc.record({
      kind: kind('stream-abort'),
      xid: xids,
      subXid: xids,
      at: fc.option(fc.record({ lsn: lsns, timeUs: times })),
    }),
    fc.record({ kind: kind('begin-prepare'), ...prepared }),
    fc.record({ kind: kind('prepare'), ...prepared }),
    fc.record({ kind: kind('stream-prepare'), ...prepared }),
    fc.record({ kind: kind('commit-prepared'), ...prepared }),
    fc.record({
      kind: kind('rollback-prepared'),
      prepareEndLsn: lsns,
      endLsn: lsns,
      prepareTimeUs: times,
      timeUs: times,
      xid: xids,
      gid: names,
    }),
  )
}

/** A stream of messages in a valid order: markers and changes, and blocks of changes with ids. */
export function arbitraryStream(): fc.Arbitrary<readonly PgOutputMessage[]> {
  const block = fc
    .record({ xid: xids, isFirst: fc.boolean(), changes: fc.array(arbitraryChange(xids), { maxLength: 5 }) })
    .map(({ xid, isFirst, changes: inside }): readonly PgOutputMessage[] => [
      { kind: 'stream-start', xid, isFirst },
      ...inside,
      { kind: 'stream-stop' },
    ])
  const single = fc.oneof(arbitraryMarker(), arbitraryChange(fc.constant(null))).map((message) => [message])
  return fc.array(fc.oneof(single, block), { maxLength: 12 }).map((parts) => parts.flat())
}
