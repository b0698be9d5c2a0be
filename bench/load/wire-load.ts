// A load generator of the Postgres protocol that goes on when it is refused, in a process of its own: so many clients,
// each with one statement under way at most, and so many statements offered a second over all of them. A client that
// is late does not catch up, so that what is offered beyond what the clients can carry is left out, not queued here.
import pg from 'pg'

/** What to do; the one argument, as JSON. */
export interface WireLoadOrder {
  readonly url: string
  readonly query: string
  readonly clients: number
  /** Statements a second over all clients; null for as many as the answers allow. */
  readonly offeredPerSecond: number | null
  readonly warmupMs: number
  readonly measureMs: number
}

/** What was measured; printed as JSON. */
export interface WireLoadResult {
  readonly elapsedMs: number
  readonly answered: number
  /** Refusals for want of capacity: SQLSTATE 53300 and 57014. */
  readonly refused: number
  /** Anything else that went wrong, with one of them. */
  readonly failed: number
  readonly failure: string | null
  readonly p50Ms: number
  readonly p99Ms: number
  /** Of refusals: how long a client waited to be told. */
  readonly refusedP99Ms: number
}

const connectAtOnce = 32
const tooMany = new Set(['53300', '57014', '55P03'])

class WireLoad {
  readonly #order: WireLoadOrder
  readonly #answeredMs: number[] = []
  readonly #refusedMs: number[] = []
  #failed = 0
  #failure: string | null = null
  #measuring = false
  #running = true

  constructor(order: WireLoadOrder) {
    this.#order = order
  }

  async run(): Promise<WireLoadResult> {
    const { clients, warmupMs, measureMs, url } = this.#order
    const connected: pg.Client[] = []
    while (connected.length < clients) {
      const count = Math.min(connectAtOnce, clients - connected.length)
      const opened = Array.from({ length: count }, async () => {
        const client = new pg.Client({ connectionString: url })
        client.on('error', (error) => {
          this.#fail(error)
        })
        await client.connect()
        return client
      })
      connected.push(...(await Promise.all(opened)))
    }
    const loops = connected.map((client, index) => this.#loop(client, index))
    await pause(warmupMs)
    this.#measuring = true
    const begun = performance.now()
    await pause(measureMs)
    const elapsedMs = performance.now() - begun
    this.#measuring = false
    this.#running = false
    await Promise.all(loops)
    await Promise.all(connected.map((client) => client.end().catch(() => undefined)))
    return this.#result(elapsedMs)
  }

  async #loop(client: pg.Client, index: number): Promise<void> {
    const { offeredPerSecond, clients, query } = this.#order
    const everyMs = offeredPerSecond === null ? 0 : (clients * 1000) / offeredPerSecond
    let due = performance.now() + (everyMs * index) / clients
    while (this.#running) {
      if (everyMs > 0) {
        const now = performance.now()
        if (due > now) await pause(due - now)
        due = Math.max(due + everyMs, now)
      }
      const sent = performance.now()
      try {
        await client.query(query)
        if (this.#measuring) this.#answeredMs.push(performance.now() - sent)
      } catch (error) {
        const refused = error instanceof pg.DatabaseError && tooMany.has(error.code ?? '')
        if (!refused) {
          this.#fail(error)
          return
        }
        if (this.#measuring) this.#refusedMs.push(performance.now() - sent)
      }
    }
  }

  #fail(error: unknown): void {
    this.#failed += 1
    this.#failure ??= String(error)
  }

  #result(elapsedMs: number): WireLoadResult {
    const answered = Float64Array.from(this.#answeredMs).sort()
    const refused = Float64Array.from(this.#refusedMs).sort()
    const at = (sorted: Float64Array, part: number): number => sorted[Math.floor(sorted.length * part)] ?? 0
    return {
      elapsedMs,
      answered: answered.length,
      refused: refused.length,
      failed: this.#failed,
      failure: this.#failure,
      p50Ms: at(answered, 0.5),
      p99Ms: at(answered, 0.99),
      refusedP99Ms: at(refused, 0.99),
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

const result = await new WireLoad(JSON.parse(process.argv[2] ?? '') as WireLoadOrder).run()
console.log(JSON.stringify(result))
