// The decoder against an encoder of its own: every message comes back as it was, and nothing broken is taken.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isFleetError } from '@fleetshard/core'
import { MessageSplitter, WireWriter, frontendCode } from '@fleetshard/routing/pgwire'
import { PgOutputDecoder } from './decode.ts'
import type { PgOutputMessage } from './messages.ts'
import { arbitraryChange, arbitraryMarker, arbitraryStream, encodeMessage } from './testing.ts'

/** Messages as they travel: each in a CopyData message. */
function framed(messages: readonly PgOutputMessage[]): Buffer {
  const out = new WireWriter()
  for (const message of messages) {
    const at = out.begin(frontendCode.copyData)
    out.raw(encodeMessage(message))
    out.end(at)
  }
  return Buffer.from(out.bytes())
}

describe('the decoder of pgoutput', () => {
  it('gives back every stream of messages, whatever the chunks that it comes in', () => {
    fc.assert(
      fc.property(arbitraryStream(), fc.array(fc.integer({ min: 1, max: 60 })), (messages, cuts) => {
        const decoder = new PgOutputDecoder()
        const decoded: PgOutputMessage[] = []
        const splitter = new MessageSplitter({
          message: (_type, buf, start, end) => decoded.push(decoder.decode(buf, start + 5, end)),
          acceptsPieces: () => false,
          piece: () => undefined,
        })
        const bytes = framed(messages)
        let at = 0
        for (const cut of [...cuts, bytes.length]) {
          const chunk = Buffer.from(bytes.subarray(at, at + cut))
          splitter.feed(chunk)
          chunk.fill(0xff) // what was decoded must not lie in the chunk
          at = Math.min(bytes.length, at + cut)
        }
        expect(decoded).toEqual(messages)
      }),
    )
  })

  it('takes no message that is cut short or has bytes too many', () => {
    const messages = fc.oneof(arbitraryMarker(), arbitraryChange(fc.constant(null)))
    fc.assert(
      fc.property(messages, fc.nat(), fc.boolean(), (message, cut, longer) => {
        const bytes = encodeMessage(message)
        const broken = longer
          ? Buffer.concat([bytes, Buffer.from([0])])
          : bytes.subarray(0, cut % bytes.length)
        // An abort of a stream may end before its position: that is the form of protocols 2 and 3.
        fc.pre(message.kind !== 'stream-abort')
        expect(() => new PgOutputDecoder().decode(broken)).toThrow(
          expect.objectContaining({ code: 'protocol_violation' }),
        )
      }),
    )
  })

  it('survives any bytes: a message or a protocol violation', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          new PgOutputDecoder().decode(Buffer.from(bytes))
        } catch (error) {
          expect(isFleetError(error, 'protocol_violation')).toBe(true)
        }
      }),
    )
  })

  it('refuses blocks that are out of step', () => {
    const decoder = new PgOutputDecoder()
    const stop = encodeMessage({ kind: 'stream-stop' })
    expect(() => decoder.decode(stop)).toThrow(/out of step/)
    const start = encodeMessage({ kind: 'stream-start', xid: 7, isFirst: true })
    decoder.decode(start)
    expect(() => decoder.decode(start)).toThrow(/out of step/)
  })

  it('does not believe a count or length that the message cannot hold', () => {
    const truncate = Buffer.from('54ffffffff00', 'hex')
    expect(() => new PgOutputDecoder().decode(truncate)).toThrow(/too early/)
    const insert = Buffer.from('49000000014e0001747fffffff61', 'hex')
    expect(() => new PgOutputDecoder().decode(insert)).toThrow(/too early/)
  })
})
