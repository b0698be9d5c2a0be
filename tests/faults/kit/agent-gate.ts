// Stands between a manager and the one agent of a fault cluster, and lets servers look as if each had an agent of its own:
// orders and questions about a hidden one get no answer, as if its host was cut off.
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A gate. Disposing ends all that waits at it. */
export class AgentGate implements AsyncDisposable {
  readonly #server: Server
  readonly #agentPort: number
  readonly #hidden = new Set<string>()

  private constructor(server: Server, agentPort: number) {
    this.#server = server
    this.#agentPort = agentPort
    server.on('request', (asked: IncomingMessage, answer: ServerResponse) => {
      this.#pass(asked, answer)
    })
  }

  static async open(agentPort: number): Promise<AgentGate> {
    const server = createServer()
    const gate = new AgentGate(server, agentPort)
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
    return gate
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Whoever asks about that server waits in vain. */
  hide(server: string): void {
    this.#hidden.add(server)
  }

  heal(): void {
    this.#hidden.clear()
    // What waits will wait for ever: its answer was swallowed.
    this.#server.closeAllConnections()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }

  #pass(asked: IncomingMessage, answer: ServerResponse): void {
    const server = /^\/v1\/servers\/([^/?]+)/.exec(asked.url ?? '')?.[1]
    if (server !== undefined && this.#hidden.has(server)) return
    const { method, url, headers } = asked
    const onward = request({ host: '127.0.0.1', port: this.#agentPort, method, path: url, headers })
    onward.on('response', (told) => {
      answer.writeHead(told.statusCode ?? 502, told.headers)
      told.pipe(answer)
    })
    onward.on('error', () => answer.destroy())
    answer.on('close', () => onward.destroy())
    asked.pipe(onward)
  }
}
