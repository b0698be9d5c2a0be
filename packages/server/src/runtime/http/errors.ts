// Errors of handlers and of fastify as problem+json answers.
import { FleetError, toFleetError, toProblem } from '@fleetshard/core'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** Seconds that a caller is asked to wait before a retryable change or an overloaded read is sent again. */
export const retryAfterSeconds = 1

const problemType = 'application/problem+json; charset=utf-8'

/** Any thrown value as an error of the catalogue, fastify's own codes included. */
export function errorOf(error: unknown, bodyLimit: number, bodyLimitSetting: string): FleetError {
  if (error instanceof FleetError) return error
  const { code, statusCode } = (typeof error === 'object' && error !== null ? error : {}) as {
    readonly code?: unknown
    readonly statusCode?: unknown
  }
  switch (code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new FleetError('unsupported_media_type', 'the body has a content type that is not understood', {
        hint: 'send content-type: application/json',
      })
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new FleetError('request_too_large', `the body is larger than ${String(bodyLimit)} bytes`, {
        hint: `send less at once, or raise ${bodyLimitSetting}`,
        cause: error,
      })
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new FleetError('invalid_request', 'the body does not have the length that content-length says', {
        hint: 'send the whole body, and its length in bytes',
      })
    case 'FST_ERR_BAD_URL':
      return new FleetError('invalid_request', 'the path is not valid', {
        hint: 'write a percent sign as %25, and other characters as UTF-8, percent-encoded',
      })
    default:
  }
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500)
    return clientFault(error, statusCode)
  return toFleetError(error)
}

/** What fastify or a plugin of it refuses; 403 is a path that leaves the folder of the docs. */
function clientFault(error: unknown, status: number): FleetError {
  const hint = 'see /docs for the list of routes'
  if (status === 403 || status === 404)
    return new FleetError('route_not_found', 'there is no such path', { hint })
  if (status === 414) return new FleetError('route_not_found', 'a part of the path is too long', { hint })
  const message = error instanceof Error ? error.message : 'the request is not valid'
  return new FleetError('invalid_request', message, { status })
}

/** What an error says in headers: when to come again, and how to say who one is. */
export function headersOf(error: FleetError): Readonly<Record<string, string>> {
  if (error.status === 401) return { 'www-authenticate': 'Bearer realm="fleetshard"' }
  const isOverload = error.status === 429
  if (!isOverload && !(error.retryable && error.status === 503)) return {}
  const { retry_after_ms: ms } = error.facts
  const seconds = typeof ms === 'number' ? Math.ceil(ms / 1000) : retryAfterSeconds
  return { 'retry-after': String(Math.max(1, seconds)) }
}

/** Answers with the problem body; logs what is our own fault. */
export function sendProblem(request: FastifyRequest, reply: FastifyReply, error: FleetError): FastifyReply {
  if (error.status >= 500 && error.code === 'internal') {
    request.log.error({ err: error.cause ?? error, trace_id: request.id }, 'request failed')
  }
  void reply.headers(headersOf(error))
  return reply
    .status(error.status)
    .type(problemType)
    .send(JSON.stringify(toProblem(error, request.id)))
}

/** The answer to bytes that are not HTTP, ready to be written to the socket. */
export function rawProblem(status: number, reason: string, error: FleetError, traceId: string): string {
  const body = JSON.stringify(toProblem(error, traceId))
  return (
    `HTTP/1.1 ${String(status)} ${reason}\r\ncontent-type: ${problemType}\r\n` +
    `content-length: ${String(Buffer.byteLength(body))}\r\nconnection: close\r\n\r\n${body}`
  )
}
