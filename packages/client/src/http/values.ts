// Values of an answer that JSON cannot carry as they are: bytea, which travels as base64, becomes bytes.
import { FleetError } from '@fleetshard/core'
import type { Column, Row } from '../statement.ts'
import { arrayAt, objectOf, textAt, type JsonObject } from '../json-reader.ts'

const isBytes = ({ type }: Column): boolean => type === 'bytea' || type === 'bytea[]'

/** The columns that an answer tells. */
export function columnsOf(answer: JsonObject): readonly Column[] {
  return arrayAt(answer, 'columns').map((item) => {
    const column = objectOf(item, 'column')
    return { name: textAt(column, 'name'), type: textAt(column, 'type') }
  })
}

/** Rows that came as objects, with their bytes decoded in place. */
export function decodeObjects(rows: readonly unknown[], columns: readonly Column[]): Row[] {
  const binary = columns.filter(isBytes)
  if (binary.length > 0) {
    for (const item of rows) {
      const row = objectOf(item, 'row') as Row
      for (const { name } of binary) row[name] = bytesOf(row[name])
    }
  }
  return rows as Row[]
}

/** Makes rows of those that came as arrays. @throws FleetError `statement_refused` for two columns of one name */
export function rowMaker(columns: readonly Column[]): (values: readonly unknown[]) => Row {
  refuseDoubleNames(columns)
  const names = columns.map(({ name }) => name)
  const binary = columns.map(isBytes)
  return (values) => {
    const entries = names.map((name, at): [string, unknown] => [
      name,
      binary[at] === true ? bytesOf(values[at]) : values[at],
    ])
    return Object.fromEntries(entries)
  }
}

/** The same refusal as the router's, for results whose columns come before the rows. */
export function refuseDoubleNames(columns: readonly { readonly name: string }[]): void {
  const names = new Set<string>()
  for (const { name } of columns) {
    if (names.has(name)) {
      throw new FleetError(
        'statement_refused',
        `two columns of the result are named ${JSON.stringify(name)}`,
        {
          hint: 'give them aliases',
        },
      )
    }
    names.add(name)
  }
}

/** base64, or arrays of it, as bytes; NULL stays. */
function bytesOf(value: unknown): unknown {
  if (typeof value === 'string') return Uint8Array.from(atob(value), (character) => character.charCodeAt(0))
  return Array.isArray(value) ? value.map(bytesOf) : value
}
