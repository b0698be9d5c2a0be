// The router's HTTP listener: the hot endpoints on node:http, everything else by fastify on the same port.
import type { AddressInfo } from 'node:net'
import { FleetError } from '@fleetshard/core'
import type { FastifyInstance } from 'fastify'
import type { RouterPort } from '../../../../catalog/router-port.ts'
import { createApp, createStreams, type Gate, type Streams } from '../../../../runtime/http/mod.ts'
import type { Logger, ServerTls, Tracing } from '../../../../runtime/mod.ts'
import type { DirectSessions } from '../../topology/direct-sessions.ts'
import type { Maps } from '../../topology/maps.ts'
import { QueryEndpoint, type Answered, type EndpointLimits } from './endpoint.ts'
import type { QueryParts } from './query.ts'
import { OpenTransactions } from './open-transactions.ts'
import { routerRoutes } from './routes.ts'

/** What the listener stands on. */
export interface ListenerParts {
  readonly log: Logger
  /** Null where there are no traces. */
  readonly tracing: Tracing | null
  readonly options: {
    readonly id: string
    readonly version: string
    readonly host: string
    readonly port: number
    readonly httpConnectionsMax: number
    readonly endpoint: EndpointLimits
    readonly transactionsMax: number
  }
  readonly maps: Maps
  readonly direct: DirectSessions
  readonly port: RouterPort
  readonly mapAgeMs: () => number
  readonly onAnswer: (answered: Answered) => void
  readonly query: Omit<QueryParts, 'transactions'>
  readonly gate: Gate
  /** Null for plain HTTP. */
  readonly tls: ServerTls | null
}

/** Sockets that wait in the kernel to be accepted. */
const backlog = 4_096

/** Listens on one port. */
export class HttpListener implements AsyncDisposable {
  readonly #parts: ListenerParts
  readonly #endpoint: QueryEndpoint
  readonly #streams: Streams
  readonly #transactions: OpenTransactions
  #app: FastifyInstance | null = null
  #stopping = false

  constructor(parts: ListenerParts) {
    this.#parts = parts
    const { log, tracing, query: base, onAnswer, options, gate } = parts
    this.#transactions = new OpenTransactions(options.transactionsMax)
    const query = { ...base, transactions: this.#transactions }
    this.#streams = createStreams(query.clock)
    this.#endpoint = new QueryEndpoint({ log, tracing, query, onAnswer, gate, limits: options.endpoint })
  }

  /** Where it listens. */
  get address(): { readonly host: string; readonly port: number } {
    const address = this.#app?.server.address() as AddressInfo | null | undefined
    if (address === null || address === undefined)
      throw new FleetError('internal', 'the router does not listen yet')
    return { host: address.address, port: address.port }
  }

  /** Transactions that clients hold open. */
  get openTransactions(): number {
    return this.#transactions.size
  }

  /** Idempotent. @throws the error of listen, `EADDRINUSE` among them */
  async listen(): Promise<void> {
    if (this.#app !== null) return
    const { log, tracing, options } = this.#parts
    const app = await createApp({
      log,
      tracing,
      tls: this.#parts.tls,
      version: options.version,
      title: 'FleetShard router',
      description: 'Data plane of FleetShard: statements by shard key, transactions, topology.',
      bodyLimitBytes: options.endpoint.requestBytesMax,
      bodyLimitSetting: 'router.request-bytes-max',
      socketsMax: options.httpConnectionsMax,
      receiveMsMax: options.endpoint.receiveMsMax,
      routes: routerRoutes({
        ...this.#parts,
        endpoint: this.#endpoint,
        streams: this.#streams,
        isStopping: () => this.#stopping,
      }),
      around: () => Promise.resolve(null),
      door: { gate: this.#parts.gate },
      first: (request, response) => this.#endpoint.take(request, response),
      onAnswer: () => undefined,
    })
    this.#app = app
    await app.listen({ host: options.host, port: options.port, backlog })
  }

  /** Takes no new work and waits for what is in flight, at most that long. */
  async drain(withinMs: number): Promise<void> {
    this.#stopping = true
    this.#streams.endAll()
    this.#app?.server.closeIdleConnections()
    const signal = AbortSignal.timeout(withinMs)
    signal.addEventListener('abort', () => {
      this.#endpoint.abort()
    })
    await this.#endpoint.drain()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true
    this.#streams.endAll()
    await this.#app?.close()
  }
}
