import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TarReader, type TarEvent } from './tar.ts'
import { archiveOf, contentOf } from './tar-fixture.ts'

test('gives back every file whole, however the stream is cut', () => {
  const file = fc.uint8Array({ maxLength: 1500 }).map((bytes) => Buffer.from(bytes))
  fc.assert(
    fc.property(
      fc.array(file, { maxLength: 6 }),
      fc.array(fc.nat(700), { minLength: 1 }),
      (contents, cuts) => {
        const archive = archiveOf(contents.map((content, index) => ({ path: `f${String(index)}`, content })))
        const reader = new TarReader()
        const events: TarEvent[] = []
        for (let start = 0, turn = 0; start < archive.length; turn++) {
          const end = start + (cuts[turn % cuts.length] ?? 0) + 1
          // The memory of a chunk is used again after it was fed, as the socket's is.
          const chunk = Buffer.from(archive.subarray(start, end))
          for (const event of reader.feed(chunk)) {
            events.push(
              event.kind === 'content' ? { kind: 'content', chunk: Buffer.from(event.chunk) } : event,
            )
          }
          chunk.fill(0xff)
          start = end
        }
        reader.end()
        const files = contentOf(events)
        expect([...files.keys()]).toEqual(contents.map((_, index) => `f${String(index)}`))
        for (const [index, content] of contents.entries()) {
          expect(files.get(`f${String(index)}`)?.equals(content)).toBe(true)
        }
      },
    ),
  )
})
