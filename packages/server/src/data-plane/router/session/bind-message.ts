// A Bind message as it came: its names and, where somebody asks, its parameters. The bytes behind the names go to the
// server as they are.
import { messageHeaderBytes, protocolViolation, type WireWriter } from '@fleetshard/routing/pgwire'

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

  /** How many parameters were sent. @throws FleetError `protocol_violation` */
  get parameterCount(): number {
    const formats = this.#buf.readUInt16BE(this.#check(this.#at, 2))
    return this.#buf.readUInt16BE(this.#check(this.#at + 2 + formats * 2, 2))
  }

  /** Writes formats, parameters and result formats, as they came. */
  writeRest(out: WireWriter): void {
    out.span(this.#buf, this.#at, this.#end)
  }

  /**
   * One value and its format; `bytes` lie in the message. Undefined for one that was not sent.
   * @throws FleetError `protocol_violation`
   */
  parameter(index: number): { readonly bytes: Buffer | null; readonly format: 0 | 1 } | undefined {
    const buf = this.#buf
    const formats = buf.readUInt16BE(this.#check(this.#at, 2))
    const formatsAt = this.#at + 2
    let at = formatsAt + formats * 2
    const count = buf.readUInt16BE(this.#check(at, 2))
    if (formats > 1 && formats !== count) {
      throw protocolViolation('a Bind message has another number of formats than of parameters')
    }
    if (index >= count) return undefined
    at += 2
    for (let before = 0; before < index; before += 1) at += 4 + Math.max(0, this.#length(at))
    const length = this.#length(at)
    const ofIndex = formatsAt + (formats === 1 ? 0 : index * 2)
    const format = formats === 0 ? 0 : formatOf(buf.readInt16BE(ofIndex))
    return { bytes: length === -1 ? null : buf.subarray(at + 4, at + 4 + length), format }
  }

  /** Of the parameter that begins at `at`; -1 for NULL. */
  #length(at: number): number {
    const length = this.#buf.readInt32BE(this.#check(at, 4))
    if (length < -1) throw endsTooEarly()
    this.#check(at + 4, Math.max(0, length))
    return length
  }

  /** `at`, when so many bytes from there on are in the message. */
  #check(at: number, bytes: number): number {
    if (bytes > this.#end - at) throw endsTooEarly()
    return at
  }
}

const endsTooEarly = (): Error => protocolViolation('a Bind message ends too early')

function formatOf(code: number): 0 | 1 {
  if (code === 0 || code === 1) return code
  throw protocolViolation(`${String(code)} is not a format`)
}

/** Names of statements are mostly no longer. */
const shortName = 24

function zeroAfter(buf: Buffer, from: number, end: number): number {
  for (let at = from; at < Math.min(end, from + shortName); at += 1) if (buf[at] === 0) return at
  const zero = buf.indexOf(0, from)
  if (zero === -1 || zero >= end) throw protocolViolation('a text without its end')
  return zero
}
