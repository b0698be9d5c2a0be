// One endpoint as data: its schemas, and a handler that gets parsed values. The same schemas check requests and
// make the OpenAPI document.
import { compileParser, ProblemBody } from '@fleetshard/core/contract'
import { FleetError, PERMISSIONS, type Permission, type Principal } from '@fleetshard/core'
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifySchema, HTTPMethods } from 'fastify'
import { Type, type Static, type TObject, type TSchema } from 'typebox'
import { letIn, principalOf, type Door } from './gate.ts'

/** What a handler gets besides the parsed parts. */
export interface Call {
  readonly traceId: string
  /** Who asks. */
  readonly principal: Principal
  /** Version demanded by If-Match; null for none or `*`. */
  readonly ifMatch: number | null
  /** Text of x-fleetshard-reason, for the audit; null for none. */
  readonly reason: string | null
  /** True when the caller asks for an event stream. */
  readonly wantsEvents: boolean
  readonly request: FastifyRequest
  readonly reply: FastifyReply
}

/** What a handler answers. `hijacked`: it has taken the response over (an event stream). */
export type Answer =
  | {
      readonly kind: 'json'
      readonly status: number
      readonly body?: unknown
      readonly headers?: Readonly<Record<string, string>>
    }
  | { readonly kind: 'hijacked' }

const nothing = Type.Object({}, { additionalProperties: false })
type Nothing = typeof nothing

/** One endpoint. */
export interface RouteSpec<P extends TObject, Q extends TObject, B extends TSchema> {
  readonly method: HTTPMethods & ('GET' | 'POST' | 'PATCH' | 'DELETE')
  /** With parameters as `:name`. */
  readonly url: string
  readonly tag: string
  readonly summary: string
  readonly params?: P
  readonly query?: Q
  readonly body?: B
  /** Answers that are not errors, by status; null for one without a body. */
  readonly answers: Readonly<Record<number, TSchema | null>>
  /** Body of its errors where they say more than others. */
  readonly problem?: TSchema
  /** Changes are made by the leader; reads by any manager, and so is what concerns the caller's session only. */
  readonly kind: 'read' | 'change' | 'probe' | 'session'
  /** What the caller must be permitted; checked before the body is read. */
  readonly permission: Permission
  handle(parts: { params: Static<P>; query: Static<Q>; body: Static<B> }, call: Call): Promise<Answer>
}

/** An endpoint with its types folded away, ready to be registered. */
export interface Route {
  readonly kind: RouteSpec<TObject, TObject, TSchema>['kind']
  readonly permission: Permission
  readonly summary: string
  readonly method: RouteSpec<TObject, TObject, TSchema>['method']
  /** With parameters as `:name`. */
  readonly url: string
  register(app: FastifyInstance, around: Around, door: Door): void
}

/** Runs before a handler: null lets it go on, an answer takes its place (a change that was forwarded). */
export type Around = (route: Route, call: Call) => Promise<Answer | null>

/** Folds an endpoint's types away and compiles its checks. */
export function route<
  P extends TObject = Nothing,
  Q extends TObject = Nothing,
  B extends TSchema = typeof noBody,
>(spec: RouteSpec<P, Q, B>): Route {
  const parseParams = compileParser((spec.params ?? nothing) as P, 'path')
  const parseQuery = compileParser((spec.query ?? nothing) as Q, 'query', true)
  const parseBody = compileParser((spec.body ?? noBody) as B, 'body')
  const made: Route = {
    kind: spec.kind,
    permission: spec.permission,
    summary: spec.summary,
    method: spec.method,
    url: spec.url,
    register(app, around, door) {
      app.route({
        method: spec.method,
        url: spec.url,
        schema: openApiOf(spec),
        onRequest: (request) => letIn(request, made, door),
        handler: async (request, reply) => {
          const call = callOf(request, reply)
          const parts = {
            params: parseParams(request.params),
            query: parseQuery(request.query),
            body: parseBody(request.body ?? undefined),
          }
          const answer = (await around(made, call)) ?? (await spec.handle(parts, call))
          return send(reply, answer)
        },
      })
    },
  }
  return made
}

/** Endpoints without a body accept none, and an empty object, which some clients always send. */
const noBody = Type.Union([Type.Undefined(), Type.Object({}, { additionalProperties: false })])

function callOf(request: FastifyRequest, reply: FastifyReply): Call {
  const { headers } = request
  return {
    traceId: request.id,
    principal: principalOf(request),
    ifMatch: ifMatchOf(headers['if-match']),
    reason: reasonOf(headers['x-fleetshard-reason']),
    wantsEvents: (headers.accept ?? '').includes('text/event-stream'),
    request,
    reply,
  }
}

/** `"7"`, `7`, `W/"7"` mean version 7; `*` any. @throws FleetError `invalid_request` */
function ifMatchOf(header: string | undefined): number | null {
  if (header === undefined || header.trim() === '*') return null
  const digits = /^(?:W\/)?"?(\d{1,15})"?$/.exec(header.trim())?.[1]
  if (digits !== undefined) return Number(digits)
  throw new FleetError('invalid_request', 'the header If-Match is not the version of a record', {
    hint: 'send the ETag that a GET of the record answered with',
  })
}

const reasonCharsMax = 500

/** The text of x-fleetshard-reason, as sent or percent-encoded; null for none. */
export function reasonOf(header: string | readonly string[] | undefined): string | null {
  if (typeof header !== 'string') return null
  try {
    return decodeURIComponent(header).slice(0, reasonCharsMax)
  } catch {
    return header.slice(0, reasonCharsMax)
  }
}

async function send(reply: FastifyReply, answer: Answer): Promise<FastifyReply> {
  if (answer.kind === 'hijacked') return reply
  if (answer.headers !== undefined) void reply.headers(answer.headers)
  void reply.status(answer.status)
  if (answer.body === undefined) return reply.send()
  return reply.type('application/json; charset=utf-8').send(JSON.stringify(answer.body))
}

/** What a status says, for people. */
const WHAT_CAME: Readonly<Record<string, string>> = {
  200: 'done',
  201: 'created; the header Location has its address',
  204: 'done, without a body',
  302: 'the header Location has where to go on',
  202: 'begun; the header Location tells where to follow it',
}

function openApiOf<P extends TObject, Q extends TObject, B extends TSchema>(
  spec: RouteSpec<P, Q, B>,
): FastifySchema & { summary: string; description: string; tags: string[]; security?: object[] } {
  const response: Record<string, unknown> = {}
  for (const [status, schema] of Object.entries(spec.answers)) {
    response[status] =
      schema === null
        ? { description: WHAT_CAME[status] ?? 'done, without a body', type: 'null' }
        : { description: WHAT_CAME[status] ?? 'the answer', content: { 'application/json': { schema } } }
  }
  response['default'] = {
    description: 'an error of the catalogue',
    content: { 'application/problem+json': { schema: spec.problem ?? ProblemBody } },
  }
  return {
    summary: spec.summary,
    description: `Permission: \`${spec.permission}\`. ${PERMISSIONS[spec.permission].doc}`,
    ...(spec.permission === 'open' ? {} : { security: [{ token: [] }] }),
    tags: [spec.tag],
    ...(spec.params === undefined ? {} : { params: spec.params }),
    ...(spec.query === undefined ? {} : { querystring: spec.query }),
    ...(spec.body === undefined ? {} : { body: spec.body }),
    response,
  }
}

/** 200 with a body, and the record's version as ETag where it has one. */
export function ok(body: object): Answer {
  return { kind: 'json', status: 200, body, headers: etagOf(body) }
}

/** 201 with a body, its address and its version. */
export function created(body: object, location: string): Answer {
  return { kind: 'json', status: 201, body, headers: { ...etagOf(body), location } }
}

/** 202 with what was begun, and where to follow it. */
export function accepted(body: object, location: string): Answer {
  return { kind: 'json', status: 202, body, headers: { ...etagOf(body), location } }
}

/** 204. */
export const gone: Answer = { kind: 'json', status: 204 }

function etagOf(body: object): Record<string, string> {
  const version = 'version' in body ? body.version : undefined
  return typeof version === 'number' ? { etag: `"${String(version)}"` } : {}
}
