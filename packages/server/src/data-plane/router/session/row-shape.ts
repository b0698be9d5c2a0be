// The shape of a statement's rows: what Postgres compares when a prepared statement is used after its tables changed.
import { backendCode, Cursor, messageHeaderBytes } from '@fleetshard/routing/pgwire'

/** Names and types of columns, in their order; empty for a statement without rows. */
export type RowShape = string

/**
 * Of a RowDescription or NoData. Where a column comes from, and how its values are sent, is no part of the shape.
 * @throws FleetError `protocol_violation`
 */
export function rowShapeOf(type: number, buf: Buffer, start: number, end: number): RowShape {
  if (type === backendCode.noData) return ''
  const cursor = new Cursor(buf, start + messageHeaderBytes, end)
  const columns: string[] = []
  for (let left = cursor.uint16(); left > 0; left -= 1) {
    const name = cursor.cstring()
    cursor.uint32()
    cursor.uint16()
    const [oid, length, modifier] = [cursor.uint32(), cursor.int16(), cursor.int32()]
    cursor.uint16()
    columns.push(`${JSON.stringify(name)} ${String(oid)} ${String(length)} ${String(modifier)}`)
  }
  return columns.join()
}
