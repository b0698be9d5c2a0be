// The chain of the audit log: each record holds the digest of the one before it, so that none can be changed, left out
// or put in between without all that follow telling. Pure.
import { Type, type Static } from 'typebox'
import { Value } from 'typebox/value'
import { createHash } from 'node:crypto'
import type { AuditEntry } from './entry.ts'

/** An entry with its place in the chain. */
export interface AuditRecord extends AuditEntry {
  /** From 1 on, without gaps. */
  readonly seq: number
  /** `hash` of the record before; empty of the first. */
  readonly prev: string
  /** SHA-256 over everything else, in hexadecimal. */
  readonly hash: string
}

const HeadSchema = Type.Object({
  seq: Type.Integer({ minimum: 0 }),
  hash: Type.String(),
  /** The oldest record that is kept, and the digest of the one before it. */
  first: Type.Integer({ minimum: 1 }),
  firstPrev: Type.String(),
})

/** Where the chain ends, and where what is kept of it begins. */
export type AuditHead = Readonly<Static<typeof HeadSchema>>

/** Nothing was recorded yet. */
export const emptyHead: AuditHead = { seq: 0, hash: '', first: 1, firstPrev: '' }

const text = Type.String()
const RecordSchema = Type.Object({
  seq: Type.Integer({ minimum: 1 }),
  prev: text,
  hash: text,
  at: text,
  phase: Type.Enum(['begun', 'ended', 'refused']),
  change: text,
  who: Type.Object({
    kind: Type.Enum(['anonymous', 'admin', 'token', 'jwt', 'session', 'system']),
    subject: text,
    role: Type.Union([Type.Enum(['viewer', 'operator', 'admin']), Type.Null()]),
  }),
  from: text,
  what: text,
  target: text,
  reason: Type.Union([text, Type.Null()]),
  traceId: text,
  before: Type.Unknown(),
  after: Type.Unknown(),
  outcome: Type.Union([text, Type.Null()]),
})

/** Null for a text that is no head. */
export const parseHead = (value: string): AuditHead | null => parsed(HeadSchema, value)

/** Null for a text that is no record. */
export const parseRecord = (value: string): AuditRecord | null => parsed(RecordSchema, value)

function parsed<S extends typeof HeadSchema | typeof RecordSchema>(
  schema: S,
  value: string,
): Static<S> | null {
  try {
    const json: unknown = JSON.parse(value)
    return Value.Check(schema, json) ? json : null
  } catch {
    return null
  }
}

/** The entry at the end of the chain. */
export function chained(entry: AuditEntry, { seq, hash }: AuditHead): AuditRecord {
  const linked = { ...entry, seq: seq + 1, prev: hash }
  return { ...linked, hash: digestOf(linked) }
}

/** Over all fields in the order of their names, at any depth: stores may keep them in another one. */
function digestOf(record: Omit<AuditRecord, 'hash'>): string {
  return createHash('sha256').update(canonical(record)).digest('hex')
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const fields = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `{${fields.map(([name, item]) => `${JSON.stringify(name)}:${canonical(item)}`).join(',')}}`
}

/** What is wrong with a record; null for nothing. @param before digest of the record before it */
export function faultOf(record: AuditRecord, before: string): string | null {
  const { hash, ...rest } = record
  if (digestOf(rest) !== hash) return 'its content is not what was recorded'
  if (record.prev !== before) return 'it does not follow the record before it'
  return null
}
