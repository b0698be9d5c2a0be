// Trace ids: each request has one, from the caller's traceparent where there is one.
import { randomBytes } from 'node:crypto'

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/

/** The 32 hexadecimal digits of W3C trace context, taken over from `traceparent` or new. */
export function traceIdOf(traceparent: string | readonly string[] | undefined): string {
  const taken = typeof traceparent === 'string' ? TRACEPARENT.exec(traceparent)?.[1] : undefined
  return taken ?? randomBytes(16).toString('hex')
}
