// Bind messages: the values in them, and messages that claim more than they hold.
import { isFleetError } from '@fleetshard/core'
import { frontendCode, WireWriter, writeBind, type ParameterValue } from '@fleetshard/routing/pgwire'
import { describe, expect, it } from 'vitest'
import { BindMessage } from './bind-message.ts'

const names = { portal: '', statement: 'of-the-client' }

function messageOf(params: readonly ParameterValue[]): Buffer {
  const out = new WireWriter()
  writeBind(out, { ...names, params, resultFormats: [1] })
  return Buffer.from(out.bytes())
}

/** With one format for all parameters, as `writeBind` never writes it. */
function withOneFormat(format: number, values: readonly string[]): Buffer {
  const out = new WireWriter()
  const offset = out.begin(frontendCode.bind)
  out.cstring(names.portal)
  out.cstring(names.statement)
  out.int16(1)
  out.int16(format)
  out.int16(values.length)
  for (const value of values) out.lengthAndUtf8(value)
  out.int16(0)
  out.end(offset)
  return Buffer.from(out.bytes())
}

const text = (bytes: Buffer, index: number): unknown => {
  const value = new BindMessage(bytes, 0, bytes.length).parameter(index)
  return value && [value.bytes?.toString() ?? null, value.format]
}

describe('a Bind message', () => {
  it('tells each of its values with its format', () => {
    const mixed = messageOf(['one', null, Buffer.from('three'), ''])
    expect([0, 1, 2, 3, 4].map((index) => text(mixed, index))).toEqual([
      ['one', 0],
      [null, 0],
      ['three', 1],
      ['', 0],
      undefined,
    ])
    expect(text(messageOf(['only text']), 0)).toEqual(['only text', 0])
    const binary = withOneFormat(1, ['a', 'b'])
    expect([0, 1, 2].map((index) => text(binary, index))).toEqual([['a', 1], ['b', 1], undefined])
    expect(text(messageOf([]), 0)).toBeUndefined()
  })

  it('passes on what stands behind its names as it came', () => {
    const bytes = messageOf(['one', Buffer.alloc(100, 7)])
    const bind = new BindMessage(bytes, 0, bytes.length)
    expect([bind.portal, bind.statement]).toEqual([names.portal, names.statement])
    const out = new WireWriter()
    bind.writeRest(out)
    expect(bytes.subarray(-out.length).equals(out.bytes())).toBe(true)
  })

  it('reads nothing beyond its end, wherever it is cut', () => {
    const whole = Buffer.concat([messageOf(['one', Buffer.from('two')]), Buffer.alloc(64, 1)])
    for (let end = 5; end < whole.length - 64 - 4; end += 1) {
      const read = (): unknown => new BindMessage(whole, 0, end).parameter(1)
      let thrown: unknown = null
      try {
        read()
      } catch (error) {
        thrown = error
      }
      expect([end, isFleetError(thrown, 'protocol_violation')]).toEqual([end, true])
    }
  })

  it('refuses formats that do not exist or do not fit', () => {
    expect(() => text(withOneFormat(2, ['a']), 0)).toThrow('is not a format')
    const bytes = messageOf(['one', Buffer.from('two')])
    bytes.writeUInt16BE(3, 5 + 1 + names.statement.length + 1)
    expect(() => text(bytes, 0)).toThrow(/formats|too early/)
  })
})
