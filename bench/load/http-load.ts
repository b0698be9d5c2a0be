// A closed-loop HTTP load generator in a process of its own: each connection sends its next request when the answer
// to the last one is there. Writes prepared bytes to raw sockets and reads no more of an answer than its length, so
// that its own cost stays small; its ceiling is measured against `echo-server.ts`.
import { connect, type Socket } from 'node:net'

/** What to do; the one argument, as JSON. */
export interface LoadOrder {
  readonly host: string
  readonly port: number
  readonly path: string
  /** Bodies sent in turn. */
  readonly bodies: readonly string[]
  /** Bearer token; null for none. */
  readonly token: string | null
  readonly connections: number
  readonly warmupMs: number
  readonly measureMs: number
}

/** What was measured; printed as JSON. */
export interface LoadResult {
  readonly requests: number
  readonly elapsedMs: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Answers other than 200, with one of them. */
  readonly failures: number
  readonly failure: string | null
}

const headerEnd = Buffer.from('\r\n\r\n')
const lengthName = /content-length: *(\d+)/i
/** Latency histogram: steps of 1 µs up to 1 s. */
const stepsMax = 1_000_000

class Load {
  readonly #order: LoadOrder
  readonly #requests: Buffer[]
  readonly #steps = new Uint32Array(stepsMax)
  readonly #sockets: Socket[] = []
  #next = 0
  #measuring = false
  #running = true
  #count = 0
  #failures = 0
  #failure: string | null = null

  constructor(order: LoadOrder) {
    this.#order = order
    const token = order.token === null ? '' : `authorization: Bearer ${order.token}\r\n`
    this.#requests = order.bodies.map((body) =>
      Buffer.from(
        `POST ${order.path} HTTP/1.1\r\nhost: ${order.host}:${String(order.port)}\r\n` +
          `${token}content-type: application/json\r\ncontent-length: ${String(Buffer.byteLength(body))}\r\n\r\n${body}`,
      ),
    )
  }

  async run(): Promise<LoadResult> {
    const { connections, warmupMs, measureMs } = this.#order
    await Promise.all(Array.from({ length: connections }, () => this.#client()))
    await pause(warmupMs)
    this.#measuring = true
    const begun = performance.now()
    await pause(measureMs)
    this.#measuring = false
    const elapsedMs = performance.now() - begun
    this.#running = false
    for (const socket of this.#sockets) socket.destroy()
    return {
      requests: this.#count,
      elapsedMs,
      p50Ms: this.#percentile(0.5),
      p99Ms: this.#percentile(0.99),
      failures: this.#failures,
      failure: this.#failure,
    }
  }

  #client(): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: this.#order.host, port: this.#order.port, noDelay: true })
      this.#sockets.push(socket)
      let sentAt = 0
      let buffered: Buffer | null = null
      const send = (): void => {
        sentAt = performance.now()
        const request = this.#requests[this.#next++ % this.#requests.length]
        if (request !== undefined) socket.write(request)
      }
      socket.on('connect', () => {
        resolve()
        send()
      })
      socket.on('error', reject)
      socket.on('close', () => {
        if (this.#running) this.#fail('the server closed a connection')
      })
      socket.on('data', (chunk) => {
        const bytes: Buffer = buffered === null ? chunk : Buffer.concat([buffered, chunk])
        const end = bytes.indexOf(headerEnd)
        const length = end < 0 ? null : lengthName.exec(bytes.toString('latin1', 0, end))?.[1]
        if (
          length === undefined ||
          length === null ||
          bytes.length < end + headerEnd.length + Number(length)
        ) {
          buffered = bytes
          return
        }
        buffered = null
        // `HTTP/1.1 200`: the digit at 9 tells the class.
        if (bytes[9] !== 0x32) this.#fail(bytes.toString('utf8', 0, 600))
        this.#observe(performance.now() - sentAt)
        if (this.#running) send()
      })
    })
  }

  #fail(failure: string): void {
    this.#failures += 1
    this.#failure ??= failure
  }

  #observe(elapsedMs: number): void {
    if (!this.#measuring) return
    this.#count += 1
    const step = Math.min(stepsMax - 1, Math.floor(elapsedMs * 1000))
    this.#steps[step] = (this.#steps[step] ?? 0) + 1
  }

  #percentile(part: number): number {
    const wanted = this.#count * part
    let seen = 0
    for (const [step, count] of this.#steps.entries()) {
      seen += count
      if (seen >= wanted) return step / 1000
    }
    return stepsMax / 1000
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const [argument = ''] = process.argv.slice(2)
const result = await new Load(JSON.parse(argument) as LoadOrder).run()
process.stdout.write(`${JSON.stringify(result)}\n`)
