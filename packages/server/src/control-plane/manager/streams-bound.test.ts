// Event streams never buffer without bound for a reader that does not read.
import { createServer, type Server } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openEventStream, streamBufferBytesMax, type EventStream } from '../../runtime/http/mod.ts'
import { systemClock } from '../../runtime/mod.ts'

let server: Server
let reader: Socket
let stream: EventStream

beforeEach(async () => {
  const opened = Promise.withResolvers<EventStream>()
  server = createServer((_request, response) => {
    opened.resolve(openEventStream(response, systemClock, { 'x-test': 'yes' }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  reader = connect((server.address() as AddressInfo).port, '127.0.0.1')
  reader.on('error', () => undefined)
  reader.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  stream = await opened.promise
})
afterEach(() => {
  reader.destroy()
  server.closeAllConnections()
  server.close()
})

describe('an event stream', () => {
  it('drops a reader that does not read, at its bound', async () => {
    reader.pause()
    const message = 'x'.repeat(1024 * 1024)
    let sent = 0
    while (stream.send('big', message)) {
      sent += 1
      expect(sent).toBeLessThan(200)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await stream.closed
    expect(sent * message.length).toBeGreaterThan(streamBufferBytesMax)
    expect(stream.send('more', 1)).toBe(false)
  })

  it('takes a first message beyond the bound: the snapshot', async () => {
    expect(stream.send('snapshot', 'x'.repeat(2 * streamBufferBytesMax))).toBe(true)
    expect(stream.send('next', 1)).toBe(true)
    let text = ''
    for await (const chunk of reader) {
      text += String(chunk)
      if (text.includes('event: next')) break
    }
    expect(text).toContain('x-test: yes')
    expect(text).toContain('event: snapshot')
  })

  it('notices that the reader has gone', async () => {
    reader.destroy()
    await stream.closed
    expect(stream.send('late', 1)).toBe(false)
  })
})
