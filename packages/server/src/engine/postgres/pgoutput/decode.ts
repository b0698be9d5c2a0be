// Decodes the messages of pgoutput. The only state is whether a streamed block is open: within one every change
// carries the id of its transaction. Pure: no sockets, no clock.
import type { Lsn } from '@fleetshard/core'
import { Cursor, protocolViolation } from '@fleetshard/routing/pgwire'
import {
  unchanged,
  type OldTuple,
  type PgOutputMessage,
  type Relation,
  type Tuple,
  type TupleValue,
} from './messages.ts'

const code = (letter: string): number => letter.charCodeAt(0)

const newRow = code('N')
const keyRow = code('K')
const fullRow = code('O')
const nullValue = code('n')
const unchangedValue = code('u')
const textValue = code('t')
const binaryValue = code('b')

type Decode = (cursor: Cursor, xid: number | null) => PgOutputMessage

/** Bodies by their type byte. */
const bodies: ReadonlyMap<number, Decode> = new Map<number, Decode>([
  [code('B'), begin],
  [code('C'), commit],
  [code('O'), (r) => ({ kind: 'origin', lsn: lsnOf(r), name: r.cstring() })],
  [code('R'), relation],
  [code('Y'), (r, xid) => ({ kind: 'type', xid, oid: r.uint32(), schema: r.cstring(), name: r.cstring() })],
  [code('I'), insert],
  [code('U'), update],
  [code('D'), (r, xid) => ({ kind: 'delete', xid, oid: r.uint32(), old: oldTuple(r, r.uint8()) })],
  [code('T'), truncate],
  [code('M'), logicalMessage],
  [code('c'), (r) => ({ kind: 'stream-commit', xid: r.uint32(), ...ending(r) })],
  [code('A'), streamAbort],
  [code('b'), (r) => ({ kind: 'begin-prepare', ...positions(r), xid: r.uint32(), gid: r.cstring() })],
  [code('P'), (r) => ({ kind: 'prepare', ...ending(r), xid: r.uint32(), gid: r.cstring() })],
  [code('p'), (r) => ({ kind: 'stream-prepare', ...ending(r), xid: r.uint32(), gid: r.cstring() })],
  [code('K'), (r) => ({ kind: 'commit-prepared', ...ending(r), xid: r.uint32(), gid: r.cstring() })],
  [code('r'), rollbackPrepared],
])

/** Changes, which carry the id of their (sub)transaction within a streamed block. */
const withXid = new Set(['R', 'Y', 'I', 'U', 'D', 'T', 'M'].map(code))
const streamStart = code('S')
const streamStop = code('E')

/** Decoder of one stream of one connection. */
export class PgOutputDecoder {
  readonly #cursor = new Cursor()
  #inBlock = false

  /**
   * The message in `buf[start, end)`, from its type byte on; nothing of the buffer is kept.
   * @throws FleetError `protocol_violation`
   */
  decode(buf: Buffer, start = 0, end = buf.length): PgOutputMessage {
    const cursor = this.#cursor
    cursor.open(buf, start, end)
    const type = cursor.uint8()
    const message = this.#body(type, cursor)
    cursor.done()
    return message
  }

  #body(type: number, cursor: Cursor): PgOutputMessage {
    if (type === streamStart || type === streamStop) return this.#border(type, cursor)
    const decode = bodies.get(type)
    if (decode === undefined) throw protocolViolation(`${String(type)} is no message of pgoutput`)
    // A message that is not transactional may come within a block; its id is 0 then.
    return decode(cursor, this.#inBlock && withXid.has(type) ? cursor.uint32() : null)
  }

  #border(type: number, cursor: Cursor): PgOutputMessage {
    const starts = type === streamStart
    if (starts === this.#inBlock)
      throw protocolViolation('the blocks of a streamed transaction are out of step')
    this.#inBlock = starts
    if (!starts) return { kind: 'stream-stop' }
    return { kind: 'stream-start', xid: cursor.uint32(), isFirst: cursor.uint8() === 1 }
  }
}

const lsnOf = (r: Cursor): Lsn => r.uint64() as Lsn

function begin(r: Cursor): PgOutputMessage {
  return { kind: 'begin', finalLsn: lsnOf(r), timeUs: r.int64(), xid: r.uint32() }
}

function commit(r: Cursor): PgOutputMessage {
  return { kind: 'commit', ...ending(r) }
}

/** Flags, which are unused, positions, time. */
function ending(r: Cursor) {
  r.uint8()
  return positions(r)
}

function positions(r: Cursor) {
  return { lsn: lsnOf(r), endLsn: lsnOf(r), timeUs: r.int64() }
}

const identities = ['d', 'n', 'f', 'i'] as const

function relation(r: Cursor, xid: number | null): PgOutputMessage {
  const oid = r.uint32()
  const schema = r.cstring()
  const name = r.cstring()
  const letter = String.fromCharCode(r.uint8())
  const identity = identities.find((one) => one === letter)
  if (identity === undefined) throw protocolViolation(`${letter} is no replica identity`)
  const columns: Relation['columns'] = Array.from({ length: r.uint16() }, () => ({
    isKey: (r.uint8() & 1) === 1,
    name: r.cstring(),
    typeOid: r.uint32(),
    typeModifier: r.int32(),
  }))
  return { kind: 'relation', xid, relation: { oid, schema, name, identity, columns } }
}

function insert(r: Cursor, xid: number | null): PgOutputMessage {
  const oid = r.uint32()
  expectNewRow(r.uint8())
  return { kind: 'insert', xid, oid, row: tuple(r) }
}

function update(r: Cursor, xid: number | null): PgOutputMessage {
  const oid = r.uint32()
  const part = r.uint8()
  if (part === newRow) return { kind: 'update', xid, oid, old: null, row: tuple(r) }
  const old = oldTuple(r, part)
  expectNewRow(r.uint8())
  return { kind: 'update', xid, oid, old, row: tuple(r) }
}

function expectNewRow(part: number): void {
  if (part !== newRow) throw protocolViolation('a change without its new row')
}

function oldTuple(r: Cursor, part: number): OldTuple {
  if (part !== keyRow && part !== fullRow) throw protocolViolation('a change without its old row')
  return { kind: part === keyRow ? 'key' : 'full', values: tuple(r) }
}

function tuple(r: Cursor): Tuple {
  const count = r.uint16()
  const values: TupleValue[] = []
  for (let index = 0; index < count; index += 1) values.push(value(r))
  return values
}

function value(r: Cursor): TupleValue {
  const kind = r.uint8()
  switch (kind) {
    case textValue:
      return r.text(r.int32())
    case nullValue:
      return null
    case unchangedValue:
      return unchanged
    case binaryValue:
      return r.bytes(r.int32())
    default:
      throw protocolViolation(`${String(kind)} is no kind of a value`)
  }
}

function truncate(r: Cursor, xid: number | null): PgOutputMessage {
  const count = r.uint32()
  const options = r.uint8()
  if (count * 4 > r.left) throw protocolViolation('a message ends too early')
  const oids = Array.from({ length: count }, () => r.uint32())
  return { kind: 'truncate', xid, oids, cascade: (options & 1) !== 0, restartIdentity: (options & 2) !== 0 }
}

function logicalMessage(r: Cursor, xid: number | null): PgOutputMessage {
  const transactional = (r.uint8() & 1) === 1
  const lsn = lsnOf(r)
  const prefix = r.cstring()
  return { kind: 'message', xid, transactional, lsn, prefix, content: r.bytes(r.int32()) }
}

function streamAbort(r: Cursor): PgOutputMessage {
  const xid = r.uint32()
  const subXid = r.uint32()
  const at = r.left === 0 ? null : { lsn: lsnOf(r), timeUs: r.int64() }
  return { kind: 'stream-abort', xid, subXid, at }
}

function rollbackPrepared(r: Cursor): PgOutputMessage {
  r.uint8()
  return {
    kind: 'rollback-prepared',
    prepareEndLsn: lsnOf(r),
    endLsn: lsnOf(r),
    prepareTimeUs: r.int64(),
    timeUs: r.int64(),
    xid: r.uint32(),
    gid: r.cstring(),
  }
}
