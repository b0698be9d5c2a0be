// Writers at a steady rate over kept HTTP connections, whatever the answers take (within a bound): a write that has to
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
  const writes: PacedWrite[] = []
  const open = new Set<Promise<void>>()
  let count = 0
  for (let lastMs = performance.now(); !order.signal.aborted;) {
    const nowMs = performance.now()
    const due = count + Math.round(((nowMs - lastMs) * order.perSecond) / 1000)
    lastMs = nowMs
    for (; count < due && open.size < openMax; count += 1) {
      const one = post(agent, order, order.body(count)).then((write) => {
        writes.push(write)
        open.delete(one)
      })
      open.add(one)
    }
    await new Promise((resolve) => setTimeout(resolve, stepMs))
  }
  await Promise.all(open)
  agent.destroy()
  return writes
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
