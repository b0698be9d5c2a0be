// A Bind message as it came: its names and, where somebody asks, its parameters. The bytes behind the names go to the
// server as they are.
import { messageHeaderBytes, protocolViolation } from '@fleetshard/routing/pgwire'

/** One Bind. Holds on to the bytes it came in. */
export class BindMessage {
  readonly portal: string
  readonly statement: string
  readonly #buf: Buffer
  readonly #end: number
  /** Behind the names. */
  readonly #at: number

  /** @throws FleetError `protocol_violation` */
  constructor(buf: Buffer, start: number, end: number) {
    const portalAt = start + messageHeaderBytes
    const statementAt = zeroAfter(buf, portalAt, end) + 1
    this.#at = zeroAfter(buf, statementAt, end) + 1
    this.portal = statementAt - portalAt === 1 ? '' : buf.toString('utf8', portalAt, statementAt - 1)
    this.statement = this.#at - statementAt === 1 ? '' : buf.toString('utf8', statementAt, this.#at - 1)
    this.#buf = buf
    this.#end = end
  }

  /** Formats, parameters and result formats, as they came. */
  get rest(): Buffer {
    return this.#buf.subarray(this.#at, this.#end)
  }

  /**
   * The values and their formats; `bytes` lie in the message.
   * @throws FleetError `protocol_violation`
   */
  parameters(): readonly { readonly bytes: Buffer | null; readonly format: 0 | 1 }[] {
    const buf = this.#buf
    let at = this.#at
    const take = (bytes: number): number => {
      const from = at
      if (bytes < 0 || bytes > this.#end - at) throw protocolViolation('a Bind message ends too early')
      at += bytes
      return from
    }
    const formats = Array.from({ length: buf.readUInt16BE(take(2)) }, () =>
      formatOf(buf.readInt16BE(take(2))),
    )
    const count = buf.readUInt16BE(take(2))
    if (formats.length > 1 && formats.length !== count) {
      throw protocolViolation('a Bind message has another number of formats than of parameters')
    }
    return Array.from({ length: count }, (_, index) => {
      const length = buf.readInt32BE(take(4))
      const format = formats[formats.length === 1 ? 0 : index] ?? 0
      if (length === -1) return { bytes: null, format }
      const from = take(length)
      return { bytes: buf.subarray(from, from + length), format }
    })
  }
}

function formatOf(code: number): 0 | 1 {
  if (code === 0 || code === 1) return code
  throw protocolViolation(`${String(code)} is not a format`)
}

function zeroAfter(buf: Buffer, at: number, end: number): number {
  const zero = buf[at] === 0 && at < end ? at : buf.indexOf(0, at)
  if (zero === -1 || zero >= end) throw protocolViolation('a text without its end')
  return zero
}
