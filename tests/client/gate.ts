// A door in front of one shard's server: clients of direct mode find it in their map, the router does not. A test
// shuts it, or lets only questions pass and no answers.
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { NodeRecord } from '@fleetshard/core'

/** What passes. */
export type GateState = 'open' | 'shut' | 'questions only'

/** A door that listens on a port of its own. */
export class Gate implements AsyncDisposable {
  readonly #to: NodeRecord
  readonly #sockets = new Set<Socket>()
  #server: Server | null = null
  #port = 0
  #state: GateState = 'shut'

  constructor(to: NodeRecord) {
    this.#to = to
  }

  get port(): number {
    return this.#port
  }

  /** Opens it; on the same port every time. */
  async open(): Promise<void> {
    const server = createServer((client) => {
      this.#pass(client)
    })
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve))
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('the gate has no port')
    this.#port = address.port
    this.#server = server
    this.#state = 'open'
  }

  /** From now on questions reach the server and their answers do not come back. */
  swallowAnswers(): void {
    this.#state = 'questions only'
  }

  /** Ends all connections and refuses new ones. */
  async shut(): Promise<void> {
    this.#state = 'shut'
    const server = this.#server
    this.#server = null
    for (const socket of this.#sockets) socket.destroy()
    if (server !== null) await new Promise((resolve) => server.close(resolve))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shut()
  }

  #pass(client: Socket): void {
    const { host, port } = this.#to
    const server = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${String(port)}`) : connect(port, host)
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from)
      from.on('error', () => undefined)
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
      from.on('data', (bytes) => {
        if (this.#state === 'questions only' && from === server) return
        to.write(bytes)
      })
    }
  }
}

/** A fetch under which the topology has that port for the nodes of a database; its stream tells nothing. */
export function fetchBehind(gate: Gate, database: string): typeof fetch {
  const moved = (_key: string, value: unknown): unknown =>
    typeof value === 'object' && value !== null && 'database' in value && value.database === database
      ? { ...value, host: '127.0.0.1', port: gate.port }
      : value
  return async (input, init) => {
    const url = input instanceof Request ? input.url : input.toString()
    if (!url.includes('/v1/topology?')) return fetch(input, init)
    if (new Headers(init?.headers).get('accept') === 'text/event-stream') return silence(init?.signal ?? null)
    const response = await fetch(input, init)
    const text = JSON.stringify(JSON.parse(await response.text(), moved))
    return new Response(text, { status: response.status, headers: { 'content-type': 'application/json' } })
  }
}

function silence(signal: AbortSignal | null): Response {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      signal?.addEventListener('abort', () => {
        controller.error(signal.reason)
      })
    },
  })
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
}
