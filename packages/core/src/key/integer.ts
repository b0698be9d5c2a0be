// Integer keys: the decimal text form and the two's complement of the wire, checked against the type's range.
import { FleetError } from '../errors/fleet-error.ts'

/** The integer key types. */
export type IntegerType = 'int2' | 'int4' | 'int8'

const bytesOf = { int2: 2, int4: 4, int8: 8 } as const satisfies Record<IntegerType, number>
const greatest = {
  int2: '32767',
  int4: '2147483647',
  int8: '9223372036854775807',
} as const satisfies Record<IntegerType, string>
const least = {
  int2: '32768',
  int4: '2147483648',
  int8: '9223372036854775808',
} as const satisfies Record<IntegerType, string>

// White space around the digits is what Postgres' own input functions skip. Underscores and other bases are
// read by newer servers only, so they are refused.
const DECIMAL = /^[ \t\n\v\f\r]*([+-]?)0*([0-9]{1,24})[ \t\n\v\f\r]*$/
const CANONICAL = /^-?[1-9][0-9]{0,14}$/
/** Longer texts are refused unread; white space and zeros could be without end. */
const integerCharactersMax = 128

/**
 * Decimal without plus or leading zeros; type null sets no range, for text keys that are given as
 * numbers.
 * @throws FleetError `invalid_shard_key`
 */
export function parseInteger(value: unknown, type: IntegerType | null): string {
  switch (typeof value) {
    case 'number':
      if (!Number.isSafeInteger(value)) throw unsafeNumber(value)
      return inRange(value < 0 ? '-' : '', String(Math.abs(value)), type)
    case 'bigint':
      return inRange(value < 0n ? '-' : '', String(value < 0n ? -value : value), type)
    case 'string':
      return parseDecimal(value, type)
    default:
      throw notAnInteger(value, type)
  }
}

function parseDecimal(text: string, type: IntegerType | null): string {
  if (type === 'int8' && CANONICAL.test(text)) return text
  const match = text.length > integerCharactersMax ? null : DECIMAL.exec(text)
  const digits = match?.[2]
  if (digits === undefined) throw notAnInteger(text, type)
  return inRange(match?.[1] === '-' ? '-' : '', digits, type)
}

function inRange(sign: '' | '-', digits: string, type: IntegerType | null): string {
  if (digits === '0') return '0'
  if (type === null) return sign + digits
  const limit = sign === '-' ? least[type] : greatest[type]
  if (digits.length > limit.length || (digits.length === limit.length && digits > limit)) {
    throw new FleetError(
      'invalid_shard_key',
      `${(sign + digits).slice(0, 80)} is out of the range of ${type}`,
      {
        hint: `${type} goes from -${least[type]} to ${greatest[type]}`,
        sqlstate: outOfRange,
      },
    )
  }
  return sign + digits
}

/**
 * Big-endian two's complement, as the wire's binary format has it.
 * @throws FleetError `invalid_shard_key` for a wrong length
 */
export function integerFromBinary(bytes: Uint8Array, type: IntegerType): string {
  const width = bytesOf[type]
  if (bytes.length !== width) {
    throw new FleetError('invalid_shard_key', `${String(bytes.length)} bytes are not a binary ${type}`, {
      hint: `a binary ${type} has ${String(width)} bytes`,
    })
  }
  let value = 0n
  for (const byte of bytes) value = (value << 8n) | BigInt(byte)
  return BigInt.asIntN(width * 8, value).toString()
}

function unsafeNumber(value: number): FleetError {
  const why = Number.isInteger(value) ? 'is too large to be exact as a JSON number' : 'is not a whole number'
  return new FleetError('invalid_shard_key', `${String(value)} ${why}`, {
    hint: 'send large integers as strings',
  })
}

function notAnInteger(value: unknown, type: IntegerType | null): FleetError {
  const shown =
    typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : `a value of kind ${typeof value}`
  return new FleetError('invalid_shard_key', `${shown} is not ${type ?? 'an integer'}`, {
    hint: 'send a whole decimal number',
    ...(typeof value === 'string' ? { sqlstate: sqlstateOf(value) } : {}),
  })
}

// What Postgres itself would say of the value.
const outOfRange = '22003'
const malformed = '22P02'

/** Newer servers read other bases, and underscores between digits: these are refused by us alone. */
function sqlstateOf(text: string): string {
  if (/^[ \t\n\v\f\r]*[+-]?[0-9]+[ \t\n\v\f\r]*$/.test(text)) return outOfRange
  return /0[xob]|[0-9]_[0-9]/i.test(text) ? '22023' : malformed
}
