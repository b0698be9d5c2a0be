// What requests for statements say in their headers.
import type { IncomingMessage } from 'node:http'
import { FleetError, idempotencyKeyPattern } from '@fleetshard/core'

const deadlineMsMax = 86_400_000
const printableKey = new RegExp(idempotencyKeyPattern, 'u')

/** The header Idempotency-Key, null without one. @throws FleetError `invalid_request` */
export function idempotencyKeyOf(request: IncomingMessage): string | null {
  const header = request.headers['idempotency-key']
  if (header === undefined) return null
  if (typeof header === 'string' && printableKey.test(header)) return header
  throw new FleetError('invalid_request', 'the header Idempotency-Key is not valid', {
    hint: 'send 1 to 255 printable characters',
  })
}

/** The header X-FleetShard-Session, null without one. */
export function sessionOf(request: IncomingMessage): string | null {
  const header = request.headers['x-fleetshard-session']
  return typeof header === 'string' ? header : null
}

/** Milliseconds of X-FleetShard-Deadline-Ms, null without one. @throws FleetError `invalid_request` */
export function deadlineOf(request: IncomingMessage): number | null {
  const header = request.headers['x-fleetshard-deadline-ms']
  if (header === undefined) return null
  const value = typeof header === 'string' && /^\d{1,9}$/.test(header) ? Number(header) : 0
  if (value >= 1 && value <= deadlineMsMax) return value
  throw new FleetError(
    'invalid_request',
    'the header X-FleetShard-Deadline-Ms is not a number of milliseconds',
    {
      hint: `send a whole number from 1 to ${String(deadlineMsMax)}`,
    },
  )
}

/** By `X-FleetShard-Trace: spans` a client asks for the spans of its request. */
export const wantsSpans = ({ headers }: IncomingMessage): boolean => headers['x-fleetshard-trace'] === 'spans'
