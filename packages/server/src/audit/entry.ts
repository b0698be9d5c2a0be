// What the audit log says of an act, made fit to be kept: bounded, and without secrets.
import { FleetError, type Principal } from '@fleetshard/core'

/**
 * `begun`: written before anything is changed. `ended`: what became of it. `refused`: nothing was begun. A `begun`
 * without its `ended` is an act whose outcome nobody recorded: a process that ended in the middle of it.
 */
export type AuditPhase = 'begun' | 'ended' | 'refused'

/** Who acted; `system` is a process that nobody asked. */
export interface AuditActor {
  readonly kind: Principal['kind'] | 'system'
  readonly subject: string
  readonly role: Principal['role']
}

/** One act. */
export interface AuditEntry {
  /** ISO 8601. */
  readonly at: string
  readonly phase: AuditPhase
  /** The same in `begun` and `ended`. */
  readonly change: string
  readonly who: AuditActor
  /** Address that it came from. */
  readonly from: string
  /** `shard.create` */
  readonly what: string
  /** `default/shard-01` */
  readonly target: string
  readonly reason: string | null
  readonly traceId: string
  /** The record before and after; null where there is none. */
  readonly before: unknown
  readonly after: unknown
  /** `ok`, or the code of the error; null of what was only begun. */
  readonly outcome: string | null
}

/** Bytes of one record; larger states are left out and said to be. */
export const recordBytesMax = 32 * 1024
const textCharsMax = 1_000

const secretNames = /password|secret|token|digest|verifier|credential|authorization|private/i
/** Fields that only say where a secret is. */
const references = /ref$/i
const passwordInUrl = /(:\/\/[^:@/\s]*):[^\s"]*@/g
const tokens = /fs[st]_[0-9a-f]{16}_[A-Za-z0-9_-]+|eyJ[\w-]+\.[\w-]+\.[\w-]*/g

const redactText = (text: string): string =>
  text.replaceAll(passwordInUrl, '$1:***@').replaceAll(tokens, '***')

function redact(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return redactText(value)
  if (typeof value !== 'object' || value === null) return value
  if (depth > depthMax) return '…'
  if (Array.isArray(value)) return value.map((item) => redact(item, depth + 1))
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => {
      const isSecret = secretNames.test(name) && !references.test(name) && typeof item === 'string'
      return [name, isSecret ? '***' : redact(item, depth + 1)]
    }),
  )
}

const depthMax = 32

/** The entry as it is kept: plain JSON, bounded, secrets blotted out. */
export function keptEntry(entry: AuditEntry): AuditEntry {
  const short = (text: string): string => redactText(text).slice(0, textCharsMax)
  const plain: AuditEntry = {
    ...entry,
    who: { ...entry.who, subject: short(entry.who.subject) },
    from: short(entry.from),
    what: short(entry.what),
    target: short(entry.target),
    reason: entry.reason === null ? null : short(entry.reason),
    before: redact(entry.before),
    after: redact(entry.after),
  }
  const text = JSON.stringify(plain)
  const bytes = Buffer.byteLength(text)
  if (bytes <= recordBytesMax) return JSON.parse(text) as AuditEntry
  const omitted = { omitted_bytes: bytes }
  return JSON.parse(JSON.stringify({ ...plain, before: omitted, after: omitted })) as AuditEntry
}

/** The error of an act that could not be recorded. */
export function auditUnavailable(message: string, cause: unknown): FleetError {
  return new FleetError('audit_unavailable', message, { cause })
}
