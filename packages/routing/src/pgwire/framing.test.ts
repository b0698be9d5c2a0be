import { isFleetError } from '@fleetshard/core'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { backendCode, startupBytesMax } from './codes.ts'
import {
  MessageSplitter,
  pieceThresholdBytes,
  type MessageReceiver,
  type SplitterOptions,
} from './framing.ts'
import { writeQuery, writeStartup } from './frontend.ts'
import { commandComplete, dataRow, message, readyForQuery } from './testing.ts'
import { WireWriter } from './writer.ts'

interface Seen {
  readonly type: number
  readonly bytes: string
}

function recorder(pieces = false): MessageReceiver & { seen: Seen[]; piecesSeen: number; largest: number } {
  let parts: Buffer[] = []
  return {
    seen: [],
    piecesSeen: 0,
    largest: 0,
    acceptsPieces: () => pieces,
    message(type, buf, start, end) {
      this.largest = Math.max(this.largest, end - start)
      this.seen.push({ type, bytes: buf.toString('latin1', start, end) })
    },
    piece(buf, start, end, bytesLeft) {
      this.piecesSeen += 1
      parts.push(Buffer.from(buf.subarray(start, end)))
      if (bytesLeft > 0) return
      const whole = Buffer.concat(parts)
      parts = []
      this.seen.push({ type: whole[0] as number, bytes: whole.toString('latin1') })
    },
  }
}

/** Feeds in chunks, through one buffer that is overwritten each time, as a socket does. */
function feed(
  receiver: MessageReceiver,
  stream: Buffer,
  sizes: readonly number[],
  options?: SplitterOptions,
): MessageSplitter {
  const splitter = new MessageSplitter(receiver, options)
  const chunk = Buffer.alloc(Math.max(1, ...sizes))
  for (let at = 0, turn = 0; at < stream.length; turn += 1) {
    const size = Math.min(sizes[turn % sizes.length] as number, stream.length - at)
    stream.copy(chunk, 0, at, at + size)
    splitter.feed(chunk, 0, size)
    chunk.fill(0xee)
    at += size
  }
  return splitter
}

const anyMessage = fc
  .tuple(fc.constantFrom(...Object.values(backendCode)), fc.uint8Array({ maxLength: 300 }))
  .map(([type, body]) => message(type, (out) => out.raw(body)))

describe('the splitter', () => {
  it('gives the same messages whatever the chunks', () => {
    fc.assert(
      fc.property(
        fc.array(anyMessage, { maxLength: 30 }),
        fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1, maxLength: 20 }),
        (messages, sizes) => {
          const receiver = recorder()
          const splitter = feed(receiver, Buffer.concat(messages), sizes)
          const expected = messages.map((bytes) => ({ type: bytes[0], bytes: bytes.toString('latin1') }))
          expect(receiver.seen).toEqual(expected)
          expect(splitter.heldBytes).toBe(0)
        },
      ),
    )
  })

  it('hands large messages over in pieces that add up, with small ones around them', () => {
    const large = dataRow(['x'.repeat(5 * pieceThresholdBytes)])
    const stream = Buffer.concat([commandComplete('A'), large, readyForQuery('I'), large, readyForQuery('T')])
    for (const size of [3, 1000, 65_536, 200_000]) {
      const receiver = recorder(true)
      const splitter = feed(receiver, stream, [size])
      expect(receiver.seen.map(({ bytes }) => bytes).join('')).toBe(stream.toString('latin1'))
      expect(receiver.seen.map(({ type }) => type)).toEqual([0x43, 0x44, 0x5a, 0x44, 0x5a])
      expect(receiver.piecesSeen).toBeGreaterThan(2)
      expect(splitter.heldBytes).toBe(0)
    }
  })

  it('holds no more of a message in pieces than its header', () => {
    const splitter = new MessageSplitter(recorder(true))
    const large = dataRow(['x'.repeat(3 * pieceThresholdBytes)])
    for (let at = 0; at < large.length; at += 7000) {
      splitter.feed(large.subarray(at, at + 7000))
      expect(splitter.heldBytes).toBeLessThanOrEqual(5)
    }
  })

  it('copies a large message a bounded number of times', () => {
    const bytes = 8 * 1024 * 1024
    const stream = message(backendCode.dataRow, (out) => out.raw(new Uint8Array(bytes)))
    const receiver = recorder()
    using copies = vi.spyOn(Buffer.prototype as Buffer, 'copy')
    const splitter = new MessageSplitter(receiver)
    for (let at = 0; at < stream.length; at += 4096)
      splitter.feed(stream, at, Math.min(at + 4096, stream.length))
    const copied = copies.mock.results.reduce((sum, result) => sum + (result.value as number), 0)
    expect(copied).toBeGreaterThanOrEqual(stream.length)
    expect(receiver.largest).toBe(stream.length)
    expect(copied).toBeLessThanOrEqual(3 * stream.length)
  })

  it('takes no memory for a length that is only claimed', () => {
    const splitter = new MessageSplitter(recorder())
    splitter.feed(Buffer.from([backendCode.dataRow, 3, 0, 0, 0, 1, 2, 3]))
    expect(splitter.heldBytes).toBe(8)
  })

  it.each([
    ['negative', [0xff, 0xff, 0xff, 0xfb]],
    ['shorter than itself', [0, 0, 0, 3]],
    ['above what the protocol allows', [0x7f, 0xff, 0xff, 0xff]],
    ['above the limit', [0, 0, 4, 1]],
  ])('refuses a length that is %s, in one chunk and byte by byte', (_what, length) => {
    const bytes = Buffer.from([backendCode.commandComplete, ...length])
    for (const size of [5, 1]) {
      const receiver = recorder()
      expect(() => feed(receiver, bytes, [size], { messageBytesMax: 1024 })).toThrow(
        expect.toSatisfy((error: unknown) => isFleetError(error, 'protocol_violation')) as Error,
      )
      expect(receiver.seen).toEqual([])
    }
  })

  it('stops in the middle of a chunk when told so', () => {
    let count = 0
    const splitter: MessageSplitter = new MessageSplitter({
      acceptsPieces: () => false,
      message: () => {
        count += 1
        splitter.stop()
      },
      piece: () => {
        count += 1
      },
    })
    splitter.feed(Buffer.concat([readyForQuery('I'), readyForQuery('I')]))
    splitter.feed(readyForQuery('I'))
    expect(count).toBe(1)
  })

  it('reads a client stream: startup without a type, then typed messages', () => {
    const out = new WireWriter()
    writeStartup(out, { user: 'a' })
    const startupBytes = out.length
    writeQuery(out, 'select 1')
    for (const size of [1, 2, 3, 7, 1000]) {
      const types: number[] = []
      const lengths: number[] = []
      const receiver: MessageReceiver = {
        acceptsPieces: () => true,
        message: (type, _buf, start, end) => {
          types.push(type)
          lengths.push(end - start)
          if (type === 0) splitter.startupDone()
        },
        piece: () => {
          types.push(-1)
        },
      }
      const splitter = new MessageSplitter(receiver, { startup: true })
      const stream = out.bytes()
      for (let at = 0; at < stream.length; at += size)
        splitter.feed(stream, at, Math.min(at + size, stream.length))
      expect(types).toEqual([0, 0x51])
      expect(lengths[0]).toBe(startupBytes)
    }
  })

  it('refuses a startup message of a size that Postgres takes none of', () => {
    const message = Buffer.alloc(startupBytesMax + 1)
    const cuts = [4, message.length]
    for (const [size, cut] of [message.length, 7, 3].flatMap((each) =>
      cuts.map((at) => [each, at] as const),
    )) {
      message.writeInt32BE(size)
      const splitter = new MessageSplitter(recorder(), { startup: true })
      expect(() => {
        splitter.feed(message.subarray(0, cut))
        splitter.feed(message.subarray(cut))
      }).toThrow(expect.objectContaining({ facts: { startup_bytes: size } }))
    }
  })

  it('collects larger messages from when they are allowed', () => {
    const sizes: number[] = []
    const splitter = new MessageSplitter(
      {
        message: (_type, _buf, start, end) => sizes.push(end - start),
        acceptsPieces: () => false,
        piece: () => {},
      },
      { messageBytesMax: 100 },
    )
    const message = Buffer.alloc(201)
    message.writeInt32BE(200, 1)
    splitter.allow(201)
    splitter.feed(message.subarray(0, 50))
    splitter.feed(message.subarray(50))
    expect(sizes).toEqual([201])
    splitter.allow(200)
    expect(() => {
      splitter.feed(message.subarray(0, 50))
    }).toThrow(/larger than the limit of 200/)
  })
})
