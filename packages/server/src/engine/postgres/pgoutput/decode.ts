// Decodes the messages of pgoutput. The only state is whether a streamed block is open: within one every change
// carries the id of its transaction. Pure: no sockets, no clock.
import { protocolViolation } from '@fleetshard/routing/pgwire'
import {
  unchanged,
  type OldTuple,
  type PgOutputMessage,
  type Relation,
  type Tuple,
  type TupleValue,
} from './messages.ts'
import { FieldReader } from './reader.ts'

const code = (letter: string): number => letter.charCodeAt(0)

const newRow = code('N')
const keyRow = code('K')
const fullRow = code('O')
const nullValue = code('n')
const unchangedValue = code('u')
const textValue = code('t')
const binaryValue = code('b')

type Decode = (reader: FieldReader, xid: number | null) => PgOutputMessage

/** Bodies by their type byte. */
const bodies: ReadonlyMap<number, Decode> = new Map<number, Decode>([
  [code('B'), begin],
  [code('C'), commit],
  [code('O'), (r) => ({ kind: 'origin', lsn: r.lsn(), name: r.text() })],
  [code('R'), relation],
  [code('Y'), (r, xid) => ({ kind: 'type', xid, oid: r.uint32(), schema: r.text(), name: r.text() })],
  [code('I'), insert],
  [code('U'), update],
  [code('D'), (r, xid) => ({ kind: 'delete', xid, oid: r.uint32(), old: oldTuple(r, r.uint8()) })],
  [code('T'), truncate],
  [code('M'), logicalMessage],
  [code('c'), (r) => ({ kind: 'stream-commit', xid: r.uint32(), ...ending(r) })],
  [code('A'), streamAbort],
  [code('b'), (r) => ({ kind: 'begin-prepare', ...positions(r), xid: r.uint32(), gid: r.text() })],
  [code('P'), (r) => ({ kind: 'prepare', ...ending(r), xid: r.uint32(), gid: r.text() })],
  [code('p'), (r) => ({ kind: 'stream-prepare', ...ending(r), xid: r.uint32(), gid: r.text() })],
  [code('K'), (r) => ({ kind: 'commit-prepared', ...ending(r), xid: r.uint32(), gid: r.text() })],
  [code('r'), rollbackPrepared],
])

/** Changes, which carry the id of their (sub)transaction within a streamed block. */
const withXid = new Set(['R', 'Y', 'I', 'U', 'D', 'T', 'M'].map(code))
const streamStart = code('S')
const streamStop = code('E')

/** Decoder of one stream of one connection. */
export class PgOutputDecoder {
  readonly #reader = new FieldReader()
  #inBlock = false

  /**
   * The message in `buf[start, end)`, from its type byte on; nothing of the buffer is kept.
   * @throws FleetError `protocol_violation`
   */
  decode(buf: Buffer, start = 0, end = buf.length): PgOutputMessage {
    const reader = this.#reader
    reader.open(buf, start, end)
    const type = reader.uint8()
    const message = this.#body(type, reader)
    reader.done()
    return message
  }

  #body(type: number, reader: FieldReader): PgOutputMessage {
    if (type === streamStart || type === streamStop) return this.#border(type, reader)
    const decode = bodies.get(type)
    if (decode === undefined) throw protocolViolation(`${String(type)} is no message of pgoutput`)
    // A message that is not transactional may come within a block; its id is 0 then.
    return decode(reader, this.#inBlock && withXid.has(type) ? reader.uint32() : null)
  }

  #border(type: number, reader: FieldReader): PgOutputMessage {
    const starts = type === streamStart
    if (starts === this.#inBlock)
      throw protocolViolation('the blocks of a streamed transaction are out of step')
    this.#inBlock = starts
    if (!starts) return { kind: 'stream-stop' }
    return { kind: 'stream-start', xid: reader.uint32(), isFirst: reader.uint8() === 1 }
  }
}

function begin(r: FieldReader): PgOutputMessage {
  return { kind: 'begin', finalLsn: r.lsn(), timeUs: r.int64(), xid: r.uint32() }
}

function commit(r: FieldReader): PgOutputMessage {
  return { kind: 'commit', ...ending(r) }
}

/** Flags, which are unused, positions, time. */
function ending(r: FieldReader) {
  r.uint8()
  return positions(r)
}

function positions(r: FieldReader) {
  return { lsn: r.lsn(), endLsn: r.lsn(), timeUs: r.int64() }
}

const identities = ['d', 'n', 'f', 'i'] as const

function relation(r: FieldReader, xid: number | null): PgOutputMessage {
  const oid = r.uint32()
  const schema = r.text()
  const name = r.text()
  const letter = String.fromCharCode(r.uint8())
  const identity = identities.find((one) => one === letter)
  if (identity === undefined) throw protocolViolation(`${letter} is no replica identity`)
  const columns: Relation['columns'] = Array.from({ length: r.uint16() }, () => ({
    isKey: (r.uint8() & 1) === 1,
    name: r.text(),
    typeOid: r.uint32(),
    typeModifier: r.int32(),
  }))
  return { kind: 'relation', xid, relation: { oid, schema, name, identity, columns } }
}

function insert(r: FieldReader, xid: number | null): PgOutputMessage {
  const oid = r.uint32()
  expectNewRow(r.uint8())
  return { kind: 'insert', xid, oid, row: tuple(r) }
}

function update(r: FieldReader, xid: number | null): PgOutputMessage {
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

function oldTuple(r: FieldReader, part: number): OldTuple {
  if (part !== keyRow && part !== fullRow) throw protocolViolation('a change without its old row')
  return { kind: part === keyRow ? 'key' : 'full', values: tuple(r) }
}

function tuple(r: FieldReader): Tuple {
  const count = r.uint16()
  const values: TupleValue[] = []
  for (let index = 0; index < count; index += 1) values.push(value(r))
  return values
}

function value(r: FieldReader): TupleValue {
  const kind = r.uint8()
  switch (kind) {
    case textValue:
      return r.textOf(r.int32())
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

function truncate(r: FieldReader, xid: number | null): PgOutputMessage {
  const count = r.uint32()
  const options = r.uint8()
  if (count * 4 > r.left) throw protocolViolation('a message ends too early')
  const oids = Array.from({ length: count }, () => r.uint32())
  return { kind: 'truncate', xid, oids, cascade: (options & 1) !== 0, restartIdentity: (options & 2) !== 0 }
}

function logicalMessage(r: FieldReader, xid: number | null): PgOutputMessage {
  const transactional = (r.uint8() & 1) === 1
  const lsn = r.lsn()
  const prefix = r.text()
  return { kind: 'message', xid, transactional, lsn, prefix, content: r.bytes(r.int32()) }
}

function streamAbort(r: FieldReader): PgOutputMessage {
  const xid = r.uint32()
  const subXid = r.uint32()
  const at = r.left === 0 ? null : { lsn: r.lsn(), timeUs: r.int64() }
  return { kind: 'stream-abort', xid, subXid, at }
}

function rollbackPrepared(r: FieldReader): PgOutputMessage {
  r.uint8()
  return {
    kind: 'rollback-prepared',
    prepareEndLsn: r.lsn(),
    endLsn: r.lsn(),
    prepareTimeUs: r.int64(),
    timeUs: r.int64(),
    xid: r.uint32(),
    gid: r.text(),
  }
}
