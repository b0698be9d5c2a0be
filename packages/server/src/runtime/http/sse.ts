// Server-sent events with a bound: a reader that is slower than the changes is dropped, never buffered for.
import type { ServerResponse } from 'node:http'
import type { Clock } from '@fleetshard/core'

/** Bytes that may wait for one reader, its first message not counted. */
export const streamBufferBytesMax = 4 * 1024 * 1024
/** Pause between heartbeats, which keep proxies from closing the stream and find dead readers. */
export const heartbeatMs = 15_000
/** A reader that takes nothing for so long is dropped. */
export const stalledMsMax = 60_000

/** One open event stream. */
export interface EventStream {
  /** Sends a message; false when the stream is closed or was closed just now for being too slow. */
  send(event: string, body: unknown): boolean
  /** Ends the stream after what was sent. Idempotent. */
  end(): void
  /** Resolves when the stream is closed by either side. */
  readonly closed: Promise<void>
}

/** Answers with an event stream. The response must be free: nothing written yet. */
export function openEventStream(
  response: ServerResponse,
  clock: Clock,
  headers: Readonly<Record<string, string>>,
): EventStream {
  const { promise: closed, resolve: onClosed } = Promise.withResolvers<undefined>()
  let open = true
  let first = true
  let allowance = 0
  let stalledSince: number | null = null
  let cancelHeartbeat = (): void => undefined

  function close(): void {
    open = false
    cancelHeartbeat()
    onClosed(undefined)
  }

  function write(text: string): boolean {
    if (!open) return false
    const isStalled = stalledSince !== null && clock.monotonic() - stalledSince > stalledMsMax
    if (isStalled || response.writableLength > streamBufferBytesMax + allowance) {
      response.destroy()
      return false
    }
    if (!response.write(text)) stalledSince ??= clock.monotonic()
    return true
  }

  function beat(): void {
    cancelHeartbeat = clock.after(heartbeatMs, () => {
      if (write(': heartbeat\n\n')) beat()
    })
  }

  response.on('close', close)
  response.on('error', close)
  response.on('drain', () => {
    stalledSince = null
    allowance = 0
  })
  response.writeHead(200, {
    ...headers,
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  })
  response.flushHeaders()
  beat()
  return {
    closed,
    send(event, body) {
      const text = `event: ${event}\ndata: ${JSON.stringify(body)}\n\n`
      if (first) allowance = Buffer.byteLength(text)
      first = false
      return write(text)
    },
    end() {
      if (open) response.end()
    },
  }
}
