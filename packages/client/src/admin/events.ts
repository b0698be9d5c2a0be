// Server-sent events read from a fetch answer, and the typed streams of the manager made from them.
import { FleetError } from '@fleetshard/core'

/** Longest message accepted, in characters: a topology of thousands of shards fits. */
const messageCharsMax = 64 * 1024 * 1024

/** One message of an event stream. */
export interface ServerEvent {
  readonly event: string
  readonly text: string
}

/**
 * The messages of an event stream, in order; comments (heartbeats) are left out. Ends when the server ends it;
 * breaking out of the loop closes the connection.
 * @throws FleetError `server_unreachable` when a message is beyond all bounds; the stream's own errors otherwise
 */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent, void, void> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  const message = new MessageBuilder()
  const line = new LineBuilder()
  try {
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return
      for (const text of line.add(decoder.decode(value, { stream: true }))) {
        const complete = message.add(text.endsWith('\r') ? text.slice(0, -1) : text)
        if (complete !== undefined) yield complete
      }
      if (line.chars + message.chars > messageCharsMax) throw tooLong()
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

/** Cuts text into lines; a line of many chunks is put together once, when it ends. */
class LineBuilder {
  chars = 0
  #parts: string[] = []

  add(text: string): string[] {
    const lines = text.split('\n')
    const rest = lines.pop() ?? ''
    if (lines.length > 0) {
      lines[0] = this.#parts.join('') + (lines[0] ?? '')
      this.#parts = []
      this.chars = 0
    }
    this.#parts.push(rest)
    this.chars += rest.length
    return lines
  }
}

/** Collects the fields of a message until its empty line. */
class MessageBuilder {
  chars = 0
  #event = 'message'
  #lines: string[] = []

  add(line: string): ServerEvent | undefined {
    if (line === '') return this.#finish()
    const [, field, value = ''] = /^([a-z]+)(?:: ?(.*))?$/.exec(line) ?? []
    if (field === 'event') this.#event = value
    if (field === 'data') {
      this.#lines.push(value)
      this.chars += value.length
    }
    return undefined
  }

  #finish(): ServerEvent | undefined {
    const complete =
      this.#lines.length === 0 ? undefined : { event: this.#event, text: this.#lines.join('\n') }
    this.#event = 'message'
    this.#lines = []
    this.chars = 0
    return complete
  }
}

function tooLong(): FleetError {
  return new FleetError('server_unreachable', `an event is longer than ${String(messageCharsMax)} characters`)
}
