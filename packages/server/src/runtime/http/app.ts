// An HTTP server of a role: fastify with the contract's routes, problem+json errors, OpenAPI and its docs.
import helmet from '@fastify/helmet'
import { FleetError } from '@fleetshard/core'
import { fastify, LogController, type FastifyInstance } from 'fastify'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Logger } from '../log.ts'
import { createHttpServer, type ServerTls } from '../tls.ts'
import type { Tracing } from '../tracing.ts'
import { registerDocs } from './docs.ts'
import { errorOf, rawProblem, sendProblem } from './errors.ts'
import type { Door } from './gate.ts'
import type { Around, Route } from './route.ts'
import { beginRequest, endRequest } from './spans.ts'
import { traceIdOf } from './trace.ts'

/** Slow requests are looked for so often within the time that they have. */
const receiveChecks = 4
const idleMsMax = 75_000

/** What the server is made of. */
export interface AppParts {
  readonly log: Logger
  /** Null where there are no traces. */
  readonly tracing: Tracing | null
  /** Null for plain HTTP. */
  readonly tls: ServerTls | null
  readonly version: string
  /** Name and sentence at the head of the OpenAPI document. */
  readonly title: string
  readonly description: string
  readonly bodyLimitBytes: number
  /** The setting that raises the limit, named in the error. */
  readonly bodyLimitSetting: string
  /** For the head and body of one request to arrive. */
  readonly receiveMsMax: number
  /** Open sockets; event streams count. */
  readonly socketsMax: number
  readonly routes: readonly Route[]
  readonly around: Around
  /** Finds out who asks, and is told of those who may not. */
  readonly door: Door
  /** Takes a request before fastify sees it; false leaves it to fastify. For endpoints where each microsecond counts. */
  readonly first?: (request: IncomingMessage, response: ServerResponse) => boolean
  /** Told of every answer; `route` is the pattern, so that its values are few. */
  onAnswer(answer: { method: string; route: string; status: number; elapsedMs: number }): void
}

/** The server, not listening yet. */
export async function createApp(parts: AppParts): Promise<FastifyInstance> {
  const toError = (error: unknown): FleetError => errorOf(error, parts.bodyLimitBytes, parts.bodyLimitSetting)
  const app = fastify({
    loggerInstance: parts.log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: parts.bodyLimitBytes,
    genReqId: (request) => beginRequest(parts.tracing, request),
    forceCloseConnections: true,
    serverFactory: (handler) =>
      createHttpServer(
        {
          requestTimeout: parts.receiveMsMax,
          headersTimeout: parts.receiveMsMax,
          keepAliveTimeout: idleMsMax,
          connectionsCheckingInterval: Math.ceil(parts.receiveMsMax / receiveChecks),
        },
        parts.tls,
        (request, response) => {
          if (parts.first?.(request, response) !== true) handler(request, response)
        },
      ),
    clientErrorHandler,
    return503OnClosing: false,
    routerOptions: { maxParamLength: 1024, ignoreTrailingSlash: true },
    frameworkErrors: (error, request, reply) => {
      void sendProblem(request, reply, toError(error))
    },
  }) as unknown as FastifyInstance
  app.server.maxConnections = parts.socketsMax
  // Requests are checked by the routes themselves, with messages that name the field; answers are written by
  // JSON.stringify, which drops nothing.
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => (body) => JSON.stringify(body))
  await registerHeaders(app)
  parseJsonBodies(app)
  app.setErrorHandler((error, request, reply) => sendProblem(request, reply, toError(error)))
  // Before the body is read: whatever it is, the path or the method is what is wrong.
  app.addHook('onRequest', async (request, reply) => {
    if (!request.is404) return
    const allowed = allowedMethods(parts.routes, request.url)
    if (allowed.length > 0) void reply.header('allow', allowed.join(', '))
    throw notRouted(request.method, request.url, allowed)
  })
  // A file of the docs that is not there: the route is.
  app.setNotFoundHandler((request, reply) =>
    sendProblem(request, reply, notRouted(request.method, request.url, [])),
  )
  app.addHook('onResponse', async (request, reply) => {
    const { method } = request
    const answer = { method, route: request.routeOptions.url ?? '(none)', status: reply.statusCode }
    endRequest(request.raw, answer)
    parts.onAnswer({ ...answer, elapsedMs: reply.elapsedTime })
  })
  const { title, version, description, routes, door } = parts
  registerDocs(app, {
    title,
    version,
    description,
    routes,
    door,
    notFound: ({ method, url }) => notRouted(method, url, []),
  })
  for (const route of parts.routes) route.register(app, parts.around, parts.door)
  await app.ready()
  return app
}

/** The methods that the path is known with, whatever its parameters are. */
function allowedMethods(routes: readonly Route[], url: string): readonly string[] {
  const parts = partsOf(url.split('?', 1)[0] ?? '')
  const known = routes.filter((route) => {
    const wanted = partsOf(route.url)
    return (
      wanted.length === parts.length && wanted.every((part, at) => part.startsWith(':') || part === parts[at])
    )
  })
  const methods = new Set<string>(known.map(({ method }) => method))
  if (methods.has('GET')) methods.add('HEAD')
  return [...methods]
}

const partsOf = (path: string): readonly string[] => path.split('/').filter((part) => part !== '')

function notRouted(method: string, url: string, allowed: readonly string[]): FleetError {
  const path = url.slice(0, pathCharsShown)
  if (allowed.length === 0) {
    return new FleetError('route_not_found', `there is no ${method} ${path}`, {
      hint: 'see /docs for the list of routes',
    })
  }
  return new FleetError('method_not_allowed', `${path} does not know the method ${method}`, {
    hint: `use ${allowed.filter((one) => one !== 'HEAD').join(' or ')}`,
  })
}

/** Of a path that is not known; the rest is cut off. */
const pathCharsShown = 200

/** Empty bodies are none; `__proto__` keys are refused by fastify's own parser. */
function parseJsonBodies(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeContentTypeParser(['application/json', 'text/plain'])
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') {
      done(null, undefined)
      return
    }
    void parse(request, body as string, (error, value) => {
      if (error === null) done(null, value)
      else {
        const hint = 'send valid JSON with content-type application/json'
        done(new FleetError('malformed_json', 'the body is not valid JSON', { hint, cause: error }))
      }
    })
  })
}

/** What keeps browsers from misusing answers; in front of all other hooks, so that errors have it too. */
async function registerHeaders(app: FastifyInstance): Promise<void> {
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'self'"],
        styleSrc: ["'self'", "'unsafe-inline'"],
        imgSrc: ["'self'", 'data:'],
        frameAncestors: ["'none'"],
      },
    },
    hsts: false,
  })
}

function clientErrorHandler(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const problem =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? rawProblem(431, 'Request Header Fields Too Large', tooLarge(), traceIdOf(undefined))
      : rawProblem(400, 'Bad Request', notHttp(), traceIdOf(undefined))
  socket.end(problem)
}

const tooLarge = (): FleetError =>
  new FleetError('request_too_large', 'the head of the request is too large', {
    status: 431,
    hint: 'use a shorter path and fewer headers: 16 KB in all',
  })
const notHttp = (): FleetError =>
  new FleetError('invalid_request', 'the request is not valid HTTP', { hint: 'send HTTP/1.1, without TLS' })
