import { describe, expect, it } from 'vitest'
import { readEvents, type ServerEvent } from './events.ts'

async function collect(body: ReadableStream<Uint8Array>): Promise<ServerEvent[]> {
  const events: ServerEvent[] = []
  for await (const event of readEvents(body)) events.push(event)
  return events
}

async function read(...chunks: string[]): Promise<ServerEvent[]> {
  const encoder = new TextEncoder()
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(encoder.encode(chunk))
      controller.close()
    },
  })
  return collect(body)
}

describe('readEvents', () => {
  it('reads events, their data over several lines, and leaves comments out', async () => {
    expect(await read('event: a\ndata: 1\n\n: heartbeat\n\ndata: x\ndata:y\n\n')).toEqual([
      { event: 'a', text: '1' },
      { event: 'message', text: 'x\ny' },
    ])
  })

  it('reads the same however the bytes are cut, also within a character', async () => {
    const text = 'event: grüße\r\ndata: {"a":"ß"}\r\n\r\n'
    const whole = await read(text)
    expect(whole).toEqual([{ event: 'grüße', text: '{"a":"ß"}' }])
    const bytes = new TextEncoder().encode(text)
    for (let at = 1; at < bytes.length; at++) {
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(bytes.slice(0, at))
          controller.enqueue(bytes.slice(at))
          controller.close()
        },
      })
      expect(await collect(body)).toEqual(whole)
    }
  })

  it('drops an event that the stream did not finish', async () => {
    expect(await read('data: 1\n\ndata: 2\n')).toEqual([{ event: 'message', text: '1' }])
  })

  it('closes the stream when the reader has enough', async () => {
    let isCancelled = false
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(new TextEncoder().encode('data: 1\n\n'))
      },
      cancel() {
        isCancelled = true
      },
    })
    for await (const event of readEvents(body)) {
      expect(event.text).toBe('1')
      break
    }
    expect(isCancelled).toBe(true)
  })
})
