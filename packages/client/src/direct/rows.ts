// Rows of a result as JavaScript values, straight from the bytes that the shard sent: the same values as http mode
// makes of the router's JSON, by the same table of types.
import { FleetError } from '@fleetshard/core'
import { parseArrayLiteral, typeShape, type JsonForm, type RowsConsumer } from '@fleetshard/routing/execute'
import { DataRowReader, type FieldDescription } from '@fleetshard/routing/pgwire'
import { refuseDoubleNames } from '../http/values.ts'
import type { Column, Row } from '../statement.ts'

/** Reads one value that is not NULL. */
type Reader = (buf: Buffer, start: number, end: number) => unknown

/** What is known of a result before its rows; the same for every run of a statement on a connection. */
interface Shape {
  readonly columns: readonly Column[]
  readonly names: readonly string[]
  readonly readers: readonly Reader[]
}

const shapes = new WeakMap<readonly FieldDescription[], Shape>()

const minus = 0x2d
const digitZero = 0x30
const digitNine = 0x39
const letterT = 0x74
const backslash = 0x5c
const letterX = 0x78

/** Makes values of rows. */
export class RowDecoder {
  #shape: Shape = noShape

  get columns(): readonly Column[] {
    return this.#shape.columns
  }

  /** @throws FleetError `statement_refused` for two columns of one name */
  fields(fields: readonly FieldDescription[]): void {
    this.#shape = shapeOf(fields)
  }

  /** A DataRow message as a row. */
  decode(buf: Buffer, start: number, end: number): Row {
    const { names, readers } = this.#shape
    const reader = sharedReader
    reader.open(buf, start, end)
    const row: Row = {}
    for (let at = 0; at < names.length && reader.next(); at += 1) {
      const valueEnd = reader.valueEnd
      const value = valueEnd < 0 ? null : readers[at]!(buf, reader.valueStart, valueEnd)
      const name = names[at]!
      if (name === '__proto__') defineOwn(row, name, value)
      else row[name] = value
    }
    return row
  }
}

/** Bounds of a result that is collected. */
export interface RowLimits {
  readonly rowsMax: number
  readonly bytesMax: number
}

/** Collects the rows of one statement. */
export class JsRows implements RowsConsumer {
  rows: Row[] = []
  readonly #limits: RowLimits
  readonly #decoder = new RowDecoder()
  #bytes = 0

  constructor(limits: RowLimits) {
    this.#limits = limits
  }

  get columns(): readonly Column[] {
    return this.#decoder.columns
  }

  fields(fields: readonly FieldDescription[]): void {
    this.#decoder.fields(fields)
  }

  /** @throws FleetError `result_too_large` */
  row(buf: Buffer, start: number, end: number): void {
    this.#bytes += end - start
    if (this.rows.length >= this.#limits.rowsMax) throw tooLarge(`${String(this.#limits.rowsMax)} rows`)
    if (this.#bytes > this.#limits.bytesMax) throw tooLarge(`${String(this.#limits.bytesMax)} bytes`)
    this.rows.push(this.#decoder.decode(buf, start, end))
  }

  reset(): void {
    this.rows = []
    this.#bytes = 0
  }
}

/** A row is read in one go, so that all results of the thread may share the reader. */
const sharedReader = new DataRowReader()

const noShape: Shape = { columns: [], names: [], readers: [] }

function defineOwn(row: Row, name: string, value: unknown): void {
  Object.defineProperty(row, name, { value, writable: true, enumerable: true, configurable: true })
}

/** @throws FleetError `statement_refused` for two columns of one name */
function shapeOf(fields: readonly FieldDescription[]): Shape {
  let shape = shapes.get(fields)
  if (shape === undefined) {
    refuseDoubleNames(fields)
    shape = {
      columns: fields.map(({ name, typeOid }) => ({ name, type: typeShape(typeOid).name })),
      names: fields.map(({ name }) => name),
      readers: fields.map(({ typeOid }) => readerOf(typeOid)),
    }
    shapes.set(fields, shape)
  }
  return shape
}

function readerOf(typeOid: number): Reader {
  const { form, element } = typeShape(typeOid)
  if (element === null) return READERS[form]
  const read = ELEMENTS[typeShape(element).form]
  const each = (item: unknown): unknown =>
    Array.isArray(item) ? item.map(each) : item === null ? null : read(item as string)
  return (buf, start, end) => parseArrayLiteral(text(buf, start, end)).map(each)
}

const text = (buf: Buffer, start: number, end: number): string => buf.toString('utf8', start, end)

/** Digits and signs are ASCII. */
const ascii = (buf: Buffer, start: number, end: number): string => buf.toString('latin1', start, end)

/** Integers of up to 32 bits. */
function integer(buf: Buffer, start: number, end: number): number {
  const negative = buf[start] === minus
  let value = 0
  for (let at = negative ? start + 1 : start; at < end; at += 1) value = value * 10 + (buf[at]! - digitZero)
  return negative ? -value : value
}

/** NaN and the infinities stay text, as in JSON. */
function float(buf: Buffer, start: number, end: number): number | string {
  const first = buf[start]! === minus && end - start > 1 ? buf[start + 1]! : buf[start]!
  const written = ascii(buf, start, end)
  return first >= digitZero && first <= digitNine ? Number(written) : written
}

function bytes(buf: Buffer, start: number, end: number): Uint8Array {
  if (buf[start] !== backslash || buf[start + 1] !== letterX) throw notHex()
  return new Uint8Array(Buffer.from(ascii(buf, start + 2, end), 'hex'))
}

const READERS: Readonly<Record<JsonForm, Reader>> = {
  string: text,
  int8: ascii,
  number: integer,
  float,
  boolean: (buf, start) => buf[start] === letterT,
  json: (buf, start, end) => JSON.parse(text(buf, start, end)) as unknown,
  bytea: bytes,
}

/** The same for the texts of an array's elements. */
const ELEMENTS: Readonly<Record<JsonForm, (written: string) => unknown>> = {
  string: (written) => written,
  int8: (written) => written,
  number: Number,
  float: (written) => (/^-?\d/.test(written) ? Number(written) : written),
  boolean: (written) => written === 't',
  json: (written) => JSON.parse(written) as unknown,
  bytea: (written) => new Uint8Array(Buffer.from(written.slice(2), 'hex')),
}

const notHex = (): FleetError =>
  new FleetError('statement_refused', 'the session does not write bytea in hexadecimal any more', {
    hint: 'leave bytea_output as it is',
  })

function tooLarge(limit: string): FleetError {
  return new FleetError('result_too_large', `the result has more than ${limit}`, {
    hint: 'stream the rows, add a LIMIT, or raise rowsMax',
  })
}
