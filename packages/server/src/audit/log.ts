// The audit log in the catalog's store: appended to by compare-and-set on the end of the chain, so that any number of
// managers write one chain; bounded, the oldest records go first; read from its end; verified as a whole.
import type { Clock } from '@fleetshard/core'
import { FleetError, toFleetError } from '@fleetshard/core'
import {
  keys,
  type CatalogStore,
  type KeyRevision,
  type StoreEntry,
  type StoreWrite,
} from '../catalog/mod.ts'
import {
  chained,
  emptyHead,
  faultOf,
  parseHead,
  parseRecord,
  type AuditHead,
  type AuditRecord,
} from './chain.ts'
import { auditUnavailable, keptEntry, type AuditEntry } from './entry.ts'

/** Records that lie together: they are read, and removed when they are the oldest, in one go. */
export const bucketRecords = 50
/** Records of one commit; with the removal of a bucket they are within the bound of a commit, by number and by bytes. */
const batchRecordsMax = 12
/** Others may be faster so often. */
const attemptsMax = 50
/** How often verifying begins anew because the oldest records were removed. */
const verifyAttemptsMax = 3
/** Writing a record, or reading some, takes no longer. */
const deadlineMs = 10_000

/** What verifying found. */
export interface AuditVerification {
  readonly records: number
  /** The records that are kept; null when there is none. */
  readonly first: number | null
  readonly last: number | null
  /** Digest of the last record: kept elsewhere, it shows later that nothing before it was changed. */
  readonly hash: string
  /** The first record that is not as it was written; null when all are. */
  readonly fault: { readonly seq: number; readonly what: string } | null
}

/** The audit log. */
export interface AuditLog {
  /** Resolves once the record is stored. @throws FleetError `audit_unavailable`, `catalog_unavailable` */
  append(entry: AuditEntry): Promise<AuditRecord>
  /** The newest first. @param before only records older than that one */
  list(options: {
    readonly before?: number | undefined
    readonly limit: number
  }): Promise<readonly AuditRecord[]>
  verify(): Promise<AuditVerification>
}

/** What the log stands on. */
export interface AuditLogParts {
  readonly store: CatalogStore
  readonly clock: Clock
  /** Records that are kept at least; up to a bucket more. */
  readonly recordsMax: number
}

/** The log of a catalog. */
export function createAuditLog(parts: AuditLogParts): AuditLog {
  return new StoredLog(parts)
}

interface Append {
  readonly entry: AuditEntry
  readonly resolve: (record: AuditRecord) => void
  readonly reject: (error: unknown) => void
}

interface End {
  readonly head: AuditHead
  /** Null as long as nothing was recorded. */
  readonly revision: KeyRevision | null
}

class StoredLog implements AuditLog {
  readonly #parts: AuditLogParts
  /** Appends of this process go one after the other, since they would only get in each other's way: those wait. */
  #waiting: Append[] = []
  #isWriting = false
  /** The end of the chain as this process has left it; null where that is not known. */
  #end: End | null = null

  constructor(parts: AuditLogParts) {
    this.#parts = parts
  }

  append(entry: AuditEntry): Promise<AuditRecord> {
    const { promise, resolve, reject } = Promise.withResolvers<AuditRecord>()
    this.#waiting.push({ entry: keptEntry(entry), resolve, reject })
    if (!this.#isWriting) void this.#write()
    return promise
  }

  /** What has come while a commit was on its way goes into the next one. */
  async #write(): Promise<void> {
    this.#isWriting = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, batchRecordsMax)
      try {
        const records = await this.#append(batch.map(({ entry }) => entry))
        for (const [index, record] of records.entries()) batch[index]?.resolve(record)
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    this.#isWriting = false
  }

  async #append(entries: readonly AuditEntry[]): Promise<readonly AuditRecord[]> {
    try {
      for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
        const records = await this.#tryAppend(entries, AbortSignal.timeout(deadlineMs))
        if (records !== null) return records
      }
    } catch (thrown) {
      const error = toFleetError(thrown)
      if (error.code === 'catalog_unavailable' || error.code === 'audit_unavailable') throw error
      throw auditUnavailable('the record of the act could not be stored', error)
    }
    throw auditUnavailable('the audit log is written to by too many at once', null)
  }

  /** Null when another was faster. */
  async #tryAppend(
    entries: readonly AuditEntry[],
    signal: AbortSignal,
  ): Promise<readonly AuditRecord[] | null> {
    const { store, recordsMax } = this.#parts
    const { head, revision } = this.#end ?? (await this.#readEnd(signal))
    // Only what this commit tells is known of the end: it may be lost on its way back.
    this.#end = null
    const records: AuditRecord[] = []
    let last = head
    for (const entry of entries) {
      const record = chained(entry, last)
      records.push(record)
      last = { ...last, seq: record.seq, hash: record.hash }
    }
    const isFull = last.seq - head.first >= recordsMax + bucketRecords
    const trimmed = isFull ? await this.#oldest(head, signal) : { head, removals: [] }
    const next: AuditHead = { ...trimmed.head, seq: last.seq, hash: last.hash }
    const { auditHead } = keys
    const result = await store.commit(
      [
        revision === null
          ? { kind: 'absent', key: auditHead }
          : { kind: 'revision', key: auditHead, revision },
      ],
      [
        ...records.map((record): StoreWrite => {
          return { kind: 'put', key: keyOf(record.seq), value: JSON.stringify(record) }
        }),
        { kind: 'put', key: auditHead, value: JSON.stringify(next) },
        ...trimmed.removals,
      ],
      signal,
    )
    if (result.kind === 'conflict') return null
    const stored = result.revisions.get(auditHead)
    if (stored !== undefined) this.#end = { head: next, revision: stored }
    return records
  }

  async #readEnd(signal: AbortSignal): Promise<End> {
    const stored = await this.#headEntry(signal)
    return { head: headOf(stored), revision: stored?.revision ?? null }
  }

  /** The oldest bucket is removed; what is kept begins behind it. */
  async #oldest(
    head: AuditHead,
    signal: AbortSignal,
  ): Promise<{ readonly head: AuditHead; readonly removals: readonly StoreWrite[] }> {
    const { entries } = await this.#parts.store.read(keys.auditBucket(bucketOf(head.first)), signal)
    const last = entries.at(-1)
    const record = last === undefined ? null : parseRecord(last.value)
    // What cannot be read is not thrown away: it is evidence.
    if (record === null) return { head, removals: [] }
    return {
      head: { ...head, first: record.seq + 1, firstPrev: record.hash },
      removals: entries.map(({ key }) => ({ kind: 'delete', key })),
    }
  }

  async list({ before, limit }: Parameters<AuditLog['list']>[0]): Promise<readonly AuditRecord[]> {
    const signal = AbortSignal.timeout(deadlineMs)
    const { seq, first } = headOf(await this.#headEntry(signal))
    const found: AuditRecord[] = []
    const from = Math.min(seq, (before ?? Infinity) - 1)
    for (
      let bucket = bucketOf(Math.max(1, from));
      bucket >= bucketOf(first) && found.length < limit;
      bucket -= 1
    ) {
      const { entries } = await this.#parts.store.read(keys.auditBucket(bucket), signal)
      const records = entries.map(({ value }) => parseRecord(value)).filter((record) => record !== null)
      found.push(...records.filter((record) => record.seq <= from).toReversed())
    }
    return found.slice(0, limit)
  }

  async verify(): Promise<AuditVerification> {
    for (let attempt = 1; ; attempt += 1) {
      const found = await this.#verify()
      if (found.fault === null || attempt === verifyAttemptsMax) return found
      // Old records may have been removed in the meantime.
      const { first } = headOf(await this.#headEntry(AbortSignal.timeout(deadlineMs)))
      if (first === found.first) return found
    }
  }

  async #verify(): Promise<AuditVerification> {
    const head = headOf(await this.#headEntry(AbortSignal.timeout(deadlineMs)))
    const { first, seq, firstPrev } = head
    const isEmpty = seq < first
    const found = { first: isEmpty ? null : first, last: isEmpty ? null : seq, hash: head.hash }
    let before = firstPrev
    let next = first
    for (let bucket = bucketOf(first); !isEmpty && bucket <= bucketOf(seq); bucket += 1) {
      const { entries } = await this.#parts.store.read(
        keys.auditBucket(bucket),
        AbortSignal.timeout(deadlineMs),
      )
      const byKey = new Map(entries.map(({ key, value }) => [key, value]))
      for (; next <= seq && bucketOf(next) === bucket; next += 1) {
        const checked = checkOne(byKey.get(keyOf(next)), { seq: next, before })
        if (checked.kind === 'fault')
          return { ...found, records: next - first, fault: { seq: next, what: checked.what } }
        before = checked.hash
      }
    }
    const fault = before === head.hash ? null : { seq, what: 'it is not the record that the chain ends with' }
    return { ...found, records: next - first, fault }
  }

  async #headEntry(signal: AbortSignal): Promise<StoreEntry | null> {
    const { entries } = await this.#parts.store.read(keys.auditHead, signal)
    return entries.find(({ key }) => key === keys.auditHead) ?? null
  }
}

type Checked =
  | { readonly kind: 'good'; readonly hash: string }
  | { readonly kind: 'fault'; readonly what: string }

function checkOne(value: string | undefined, at: { readonly seq: number; readonly before: string }): Checked {
  if (value === undefined) return { kind: 'fault', what: 'it is missing' }
  const record = parseRecord(value)
  if (record === null) return { kind: 'fault', what: 'it cannot be read' }
  if (record.seq !== at.seq) return { kind: 'fault', what: 'it is another record' }
  const what = faultOf(record, at.before)
  return what === null ? { kind: 'good', hash: record.hash } : { kind: 'fault', what }
}

const bucketOf = (seq: number): number => Math.floor(seq / bucketRecords)

const keyOf = (seq: number): string => keys.auditRecord(bucketOf(seq), seq)

/** @throws FleetError `audit_unavailable` for an end that cannot be read */
function headOf(entry: StoreEntry | null): AuditHead {
  if (entry === null) return emptyHead
  const head = parseHead(entry.value)
  if (head !== null) return head
  throw new FleetError('audit_unavailable', `the end of the audit log, ${keys.auditHead}, cannot be read`, {
    hint: 'somebody has written to the catalog; export what there is, and restore the key',
  })
}
