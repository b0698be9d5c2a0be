// The open event streams of a server: counted, and ended when it stops.
import { FleetError, type Clock } from '@fleetshard/core'
import type { Answer, Call } from './route.ts'
import { openEventStream, type EventStream } from './sse.ts'

/** Streams open at once. */
export const streamsMax = 256

/** Opens and ends streams. */
export interface Streams {
  /**
   * Takes the response over and lets `begin` send; what `begin` returns is called when the stream is closed.
   * @throws FleetError `overloaded`
   */
  open(call: Call, begin: (stream: EventStream) => () => void): Answer
  endAll(): void
}

/** No stream is open. */
export function createStreams(clock: Clock): Streams {
  const open = new Set<EventStream>()
  return {
    open({ reply }, begin) {
      if (open.size >= streamsMax) {
        throw new FleetError('overloaded', `${String(streamsMax)} event streams are open already`)
      }
      const headers: Record<string, string> = {}
      for (const [name, value] of Object.entries(reply.getHeaders())) {
        if (value !== undefined) headers[name] = String(value)
      }
      reply.hijack()
      const stream = openEventStream(reply.raw, clock, headers)
      open.add(stream)
      const finish = begin(stream)
      void stream.closed.then(() => {
        open.delete(stream)
        finish()
      })
      return { kind: 'hijacked' }
    },
    endAll() {
      for (const stream of open) stream.end()
    },
  }
}
