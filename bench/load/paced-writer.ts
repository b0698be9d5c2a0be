// Writers at a steady rate, over kept HTTP connections or as the caller does it, whatever the answers take (within a bound): a write that has to
// wait holds no other one up, as with real applications. Every latency is kept with the time it began.
import { Agent, request } from 'node:http'

/** One write. */
export interface PacedWrite {
  readonly beganMs: number
  readonly tookMs: number
  readonly status: number
}

/** What to write to. */
export interface PacedOrder {
  readonly port: number
  readonly path: string
  readonly perSecond: number
  /** Body of the nth write. */
  readonly body: (count: number) => string
  readonly signal: AbortSignal
}

/** Writes are begun in steps of that long. */
const stepMs = 5
const socketsMax = 256
/** Writes without an answer; a server that is behind by so many is not given more. */
const openMax = 512

/** Writes until the signal aborts; resolves when the last answer is there. */
export async function writePaced(order: PacedOrder): Promise<readonly PacedWrite[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: socketsMax })
  const { perSecond, signal } = order
  const writes: PacedWrite[] = []
  await pace({ perSecond, signal }, async (count) => {
    writes.push(await post(agent, order, order.body(count)))
  })
  agent.destroy()
  return writes
}

/** Begins so many writes a second until the signal aborts; resolves when the last one is over. None may fail. */
export async function pace(
  { perSecond, signal }: { readonly perSecond: number; readonly signal: AbortSignal },
  write: (count: number) => Promise<void>,
): Promise<void> {
  const open = new Set<Promise<void>>()
  let count = 0
  let owed = 0
  for (let lastMs = performance.now(); !signal.aborted;) {
    const nowMs = performance.now()
    owed += ((nowMs - lastMs) * perSecond) / 1000
    lastMs = nowMs
    for (; owed >= 1 && open.size < openMax; owed -= 1, count += 1) {
      const one = write(count).then(() => {
        open.delete(one)
      })
      open.add(one)
    }
    // What a server that is behind was not given is not made up for.
    owed %= 1
    await new Promise((resolve) => setTimeout(resolve, stepMs))
  }
  await Promise.all(open)
}

function post(agent: Agent, { port, path }: PacedOrder, body: string): Promise<PacedWrite> {
  const beganMs = performance.now()
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const sent = request({ host: '127.0.0.1', port, path, method: 'POST', agent, headers }, (answer) => {
      answer.resume()
      answer.on('end', () => {
        resolve({ beganMs, tookMs: performance.now() - beganMs, status: answer.statusCode ?? 0 })
      })
    })
    sent.on('error', reject)
    sent.end(body)
  })
}
