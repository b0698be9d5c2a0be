// The HTTP server for a process's metrics and health: GET /metrics, GET /health, and /log-level for whoever is on this
// machine. Plain node:http, no framework: it must answer when everything else is busy.
import { FleetError, type Clock } from '@fleetshard/core'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Service } from './lifecycle.ts'
import { LogLevelEndpoint } from './log-level.ts'
import type { Logger, Logging } from './log.ts'
import type { Metrics } from './metrics.ts'
import { listenError } from './ports.ts'
import { createHttpServer, type ServerTls } from './tls.ts'

/** What /health answers: 200 when `ok`, else 503. Facts are JSON for people. */
export interface Health {
  readonly ok: boolean
  readonly [fact: string]: string | number | boolean | null
}

/** What the server needs. */
export interface MetricsServerOptions {
  readonly metrics: Metrics
  readonly health: () => Health
  readonly host: string
  /** 0 for any free one. */
  readonly port: number
  /** The flag that chooses the port, for errors. */
  readonly flag: string
  readonly log: Logger
  /** What is written to the log; its level can be asked for and changed. */
  readonly logging: Logging
  readonly clock: Clock
  /** Null for plain HTTP. */
  readonly tls: ServerTls | null
}

/** A metrics server; `port()` is the one it listens on, once ready. */
export interface MetricsServer extends Service {
  port(): number
}

const connectionsMax = 256
const requestMsMax = 10_000

/** Serves from `run` until its signal. @throws FleetError `port_taken` from run */
export function createMetricsServer(options: MetricsServerOptions): MetricsServer {
  const logLevel = new LogLevelEndpoint(options)
  const server = createHttpServer(
    { requestTimeout: requestMsMax, headersTimeout: requestMsMax },
    options.tls,
    (request, response) => {
      void answer(options, logLevel, { request, response })
    },
  )
  server.maxConnections = connectionsMax
  const ready = Promise.withResolvers<void>()
  return {
    name: 'metrics',
    async run(signal) {
      await listen(server, options, signal)
      ready.resolve()
      options.log.debug({ port: portOf(server) }, 'metrics server listens')
      await closed(server, signal)
    },
    ready: () => ready.promise,
    port: () => portOf(server),
    drain: () => Promise.resolve(),
    async [Symbol.asyncDispose]() {
      logLevel[Symbol.dispose]()
      await close(server)
    },
  }
}

async function answer(
  options: MetricsServerOptions,
  logLevel: LogLevelEndpoint,
  { request, response }: { readonly request: IncomingMessage; readonly response: ServerResponse },
): Promise<void> {
  try {
    const path = request.url?.split('?', 1)[0]
    if (path === '/log-level') {
      const { status, body } = await logLevel.answer(request)
      send(response, status, 'application/json', `${JSON.stringify(body)}\n`)
    } else if (request.method !== 'GET' && request.method !== 'HEAD')
      send(response, 405, 'text/plain', 'only GET\n')
    else if (path === '/metrics' && !options.metrics.isOn)
      send(response, 404, 'text/plain', 'there are no metrics: metrics.enabled is off\n')
    else if (path === '/metrics')
      send(response, 200, options.metrics.contentType, await options.metrics.text())
    else if (path === '/') response.writeHead(302, { location: '/metrics' }).end()
    else if (path === '/health') sendHealth(response, options.health())
    else send(response, 404, 'text/plain', 'there are /metrics, /health and /log-level\n')
  } catch (error) {
    options.log.error({ err: error }, 'metrics could not be collected')
    if (!response.headersSent) send(response, 500, 'text/plain', 'the metrics could not be collected\n')
  }
}

function sendHealth(response: ServerResponse, health: Health): void {
  const { ok, ...facts } = health
  send(
    response,
    ok ? 200 : 503,
    'application/json',
    `${JSON.stringify({ status: ok ? 'ok' : 'unhealthy', ...facts })}\n`,
  )
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) })
  response.end(response.req.method === 'HEAD' ? undefined : body)
}

function listen(
  server: Server,
  { host, port, flag }: MetricsServerOptions,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(
        new FleetError('shutting_down', 'stopped before the metrics server listened', {
          cause: signal.reason,
        }),
      )
      return
    }
    const onError = (error: Error): void => {
      reject(listenError(error, flag, host, port))
    }
    server.once('error', onError)
    server.listen({ host, port, exclusive: true }, () => {
      server.off('error', onError)
      resolve()
    })
  })
}

/** Resolves once the signal has aborted and the server is closed; rejects when the server breaks. */
function closed(server: Server, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    const onAbort = (): void => {
      void close(server).then(resolve)
    }
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
  })
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve()
    })
    server.closeAllConnections()
  })
}

function portOf(server: Server): number {
  const address = server.address()
  if (typeof address === 'object' && address !== null) return address.port
  throw new FleetError('internal', 'the metrics server does not listen')
}
