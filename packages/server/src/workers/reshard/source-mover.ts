// One source's rows on their way: reads the stream of its slot, judges and joins changes, applies them to every target,
// and copies units in between, at borders of transactions. All of it happens in one loop, so a unit being copied and
// a change of it never meet. SPEC.md, invariants 1 to 4.
import { FleetError, type Lsn, type ShardId } from '@fleetshard/core'
import {
  isVisible,
  unchanged,
  widenXid,
  type MovedTable,
  type PgOutputMessage,
  type ReplicationStream,
  type SourceReader,
  type StreamEvent,
  type TableChanges,
  type TargetWriter,
  type XidSnapshot,
} from '../../engine/mod.ts'
import { TargetBatch, type PartialRow } from './batch.ts'
import type { Place } from './move-plan.ts'
import { ownChanges, type OwnRowsParts } from './own-rows.ts'
import { routeChange, type RoutedChange } from './route.ts'
import type { TableUnits } from './units.ts'

/** A batch is applied when it touches so many rows or holds so many bytes, else when the stream pauses. */
const batchRowsMax = 10_000
const batchBytesMax = 8 * 1024 * 1024
/** Transactions passed and not yet seen by a snapshot, before a look at the server forgets those that have ended. */
const passedMax = 100_000

/** What a mover works with. */
export interface MoverParts {
  readonly source: ShardId
  readonly tables: readonly MovedTable[]
  readonly units: ReadonlyMap<string, TableUnits>
  readonly reader: SourceReader
  readonly stream: ReplicationStream
  /** By position. */
  readonly targets: readonly TargetWriter[]
  /** What each target had applied when this run began. */
  readonly applied: readonly Lsn[]
  readonly place: Place
  /** Rows of the table may come by other streams under the same primary key: what comes replaces what is there. */
  readonly mayMeet: (table: MovedTable) => boolean
  /** How rows of other sources under the same primary key are told from its own. */
  readonly own: Omit<OwnRowsParts, 'source'>
  /** Begins its own messages in the log; no other run uses it. */
  readonly markPrefix: string
  /** What a snapshot must have seen the end of: all that ran when this run began, or before. */
  readonly xidMin: bigint
}

interface Transaction {
  readonly xid: bigint
  readonly lsn: Lsn
  readonly marks: string[]
}

/** Work to be done between two transactions. */
interface Interlude {
  readonly work: () => Promise<void>
  readonly reject: (error: unknown) => void
}

/**
 * A row came from beyond the frontier into a unit that had been copied before, with a large value that the stream does
 * not tell and the source does not hold any more.
 */
export class StaleUnit extends Error {
  override readonly name = 'StaleUnit'
  readonly source: ShardId
  readonly table: MovedTable
  /** It and all units after it are to be copied anew. */
  readonly number: number

  constructor(source: ShardId, table: MovedTable, number: number) {
    super(`unit ${String(number)} of ${table.name} has to be copied anew`)
    this.source = source
    this.table = table
    this.number = number
  }
}

/** Moves the rows of one source. `follow` is its loop; the rest asks that loop for something. */
export class SourceMover {
  readonly #parts: MoverParts
  #batches: readonly TargetBatch[]
  readonly #tables = new Map<number, MovedTable | null>()
  readonly #marks = new Map<string, () => void>()
  readonly #interludes: Interlude[] = []
  #transaction: Transaction | null = null
  /** What the targets work on, the last piece of it; the next is gathered meanwhile. */
  #carrying: Promise<void> = Promise.resolve()
  #failure: { readonly error: unknown } | null = null
  /** The end of what was read. */
  #position = 0n as Lsn
  /** Commit record of the last transaction passed. */
  #lastCommit = 0n as Lsn
  #flushed = 0n as Lsn
  #passed: bigint[] = []
  #near: bigint
  #nextMark = 0
  /** Of the loop. */
  #signal: AbortSignal = new AbortController().signal
  #wake: () => void = () => undefined

  constructor(parts: MoverParts) {
    this.#parts = parts
    this.#batches = parts.targets.map(() => new TargetBatch())
    this.#near = parts.xidMin
  }

  get source(): ShardId {
    return this.#parts.source
  }

  get reader(): SourceReader {
    return this.#parts.reader
  }

  get units(): ReadonlyMap<string, TableUnits> {
    return this.#parts.units
  }

  /** The loop: ends with the signal's reason or the first fault, and with nothing under way at the targets. */
  async follow(signal: AbortSignal): Promise<never> {
    this.#signal = signal
    try {
      return await this.#loop()
    } finally {
      await this.#carrying.catch(() => undefined)
    }
  }

  async #loop(): Promise<never> {
    let coming: Promise<readonly StreamEvent[]> | null = null
    for (;;) {
      await this.#interlude()
      if (this.#failure !== null) throw this.#failure.error
      coming ??= this.#parts.stream.next(this.#signal)
      // Awaited again where an interlude came first; a failure is met there.
      coming.catch(() => undefined)
      const called = new Promise<null>((resolve) => {
        this.#wake = () => {
          resolve(null)
        }
      })
      const events: readonly StreamEvent[] | null = await Promise.race([coming, called])
      if (events === null) continue
      coming = null
      for (const event of events) await this.#take(event)
      if (this.#transaction === null) await this.#handOn('end')
    }
  }

  /** Everything that was committed on the source before the call is applied on every target. */
  async reach(signal: AbortSignal): Promise<void> {
    this.#nextMark += 1
    const content = `${this.#parts.markPrefix}:${String(this.#nextMark)}`
    const seen = this.seen(content, signal)
    // It may be rejected while the mark is still being made; it is met below.
    seen.catch(() => undefined)
    await this.#parts.reader.mark(content)
    await seen
  }

  /** Resolves when a transaction with that message, and all before it, is applied on every target. */
  seen(content: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#marks.delete(content)
        reject(signal.reason as Error)
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#marks.set(content, () => {
        signal.removeEventListener('abort', onAbort)
        this.#marks.delete(content)
        resolve()
      })
      if (signal.aborted) onAbort()
    })
  }

  /** Copies the next unit of a table. @returns false when the table is whole */
  async copyNext(units: TableUnits, rowsMax: number, signal: AbortSignal): Promise<boolean> {
    const after = units.frontier
    if (after === undefined) return false
    await this.#between(signal, () => this.#copy(units, after, rowsMax, signal))
    return units.frontier !== undefined
  }

  async #copy(units: TableUnits, after: string | null, rowsMax: number, signal: AbortSignal): Promise<void> {
    const { source, reader, targets, place } = this.#parts
    const { table, nextNumber: number } = units
    const range = { after, upTo: await reader.unitEnd(table, after, rowsMax) }
    const by = table.shardKey?.type ?? 'text'
    const copied = await reader.copyUnit(
      {
        source,
        table,
        number,
        range,
        targets,
        place: (key) => place(key, by),
        mayUse: (snapshot) => this.#mayUse(snapshot),
      },
      signal,
    )
    units.add({ number, range, snapshot: copied.snapshot, rows: copied.rows })
  }

  /** SPEC.md, invariant 1. */
  #mayUse(snapshot: XidSnapshot): boolean {
    this.#passed = this.#passed.filter((xid) => !isVisible(snapshot, xid))
    return snapshot.xmin >= this.#parts.xidMin && this.#passed.length === 0
  }

  /** Runs work in the loop, between two transactions, with nothing left to be applied. */
  #between(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      // The loop may end before it comes to this.
      const onAbort = (): void => {
        reject(signal.reason as Error)
      }
      if (signal.aborted) {
        onAbort()
        return
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#interludes.push({
        work: async () => {
          signal.throwIfAborted()
          await work()
          signal.removeEventListener('abort', onAbort)
          resolve()
        },
        reject,
      })
      this.#wake()
    })
  }

  async #interlude(): Promise<void> {
    while (this.#transaction === null) {
      const next = this.#interludes.shift()
      if (next === undefined) return
      await this.#flush()
      try {
        await next.work()
      } catch (error) {
        next.reject(error)
        throw error
      }
    }
  }

  async #take(event: StreamEvent): Promise<void> {
    if (event.kind === 'sent') {
      if (this.#transaction === null && event.upTo > this.#position) this.#position = event.upTo
      return
    }
    const { message } = event
    switch (message.kind) {
      case 'begin':
        this.#near = widenXid(message.xid, this.#near)
        this.#transaction = { xid: this.#near, lsn: message.finalLsn, marks: [] }
        return
      case 'commit':
        return this.#commit(message.lsn, message.endLsn)
      case 'relation':
        this.#tables.set(message.relation.oid, this.#tableOf(message.relation))
        return
      case 'insert':
      case 'update':
      case 'delete':
        return this.#change(message)
      case 'truncate':
        throw refused('a table that is being moved was truncated')
      case 'message':
        if (message.transactional && message.prefix === 'fleetshard')
          this.#transaction?.marks.push(message.content.toString())
        return
      default:
    }
  }

  async #commit(lsn: Lsn, endLsn: Lsn): Promise<void> {
    const transaction = this.#transaction
    this.#transaction = null
    this.#position = endLsn
    this.#lastCommit = lsn
    if (transaction !== null) this.#passed.push(transaction.xid)
    if (this.#passed.length > passedMax) await this.#forgetPassed()
    const marks = transaction?.marks ?? []
    if (marks.length > 0) await this.#flush()
    else if (this.#isFull()) await this.#handOn('end')
    for (const mark of marks) this.#marks.get(mark)?.()
    await this.#interlude()
  }

  async #forgetPassed(): Promise<void> {
    const snapshot = await this.#parts.reader.snapshot()
    this.#passed = this.#passed.filter((xid) => !isVisible(snapshot, xid))
  }

  #tableOf(relation: Extract<PgOutputMessage, { kind: 'relation' }>['relation']): MovedTable | null {
    const part = (name: string): string =>
      /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`
    const name = `${part(relation.schema)}.${part(relation.name)}`
    const table = this.#parts.tables.find((one) => one.name === name)
    if (table === undefined) throw refused(`a table that is being moved was renamed to ${name}`)
    const isSame =
      relation.columns.length === table.columns.length &&
      relation.columns.every((column, index) => column.name === table.columns[index]?.name)
    if (!isSame) throw refused(`the columns of ${name} were changed`)
    return table
  }

  async #change(message: Extract<PgOutputMessage, { kind: 'insert' | 'update' | 'delete' }>): Promise<void> {
    const table = this.#tables.get(message.oid)
    const transaction = this.#transaction
    if (table === undefined || table === null || transaction === null)
      throw new FleetError('internal', 'a change outside of its transaction or table')
    const { place, targets } = this.#parts
    for (const routed of routeChange({ table, place, targetCount: targets.length }, message)) {
      if (!this.#concerns(table, routed, transaction)) continue
      const batch = this.#batches[routed.target]
      if (routed.kind === 'remove') batch?.remove(table, routed.key)
      else batch?.put(table, this.#filled(table, routed))
    }
    if (this.#isFull()) await this.#handOn('middle')
  }

  /** The gate: SPEC.md, invariants 2 and 4. */
  #concerns(table: MovedTable, { key, target }: RoutedChange, { xid, lsn }: Transaction): boolean {
    const snapshot = this.#parts.units.get(table.name)?.snapshotOf(key[0] ?? '') ?? null
    if (snapshot === null || isVisible(snapshot, xid)) return false
    return lsn > (this.#parts.applied[target] ?? 0n)
  }

  /** The row with what of its missing values the stream or the batches tell; for the rest, where it stood before. */
  #filled(table: MovedTable, put: Extract<RoutedChange, { kind: 'put' }>) {
    const { key, oldKey, old, row, target } = put
    const isNew = put.isNew && !this.#parts.mayMeet(table)
    if (!row.includes(unchanged)) return { key, values: row, origin: oldKey, isNew }
    const before = this.#pending(table, target, oldKey)
    const values = row.map((value, position) =>
      value === unchanged ? (old?.[position] ?? before?.values[position] ?? unchanged) : value,
    )
    return { key, values, origin: before?.origin ?? oldKey, isNew }
  }

  /** A row that is in a batch already; of any target, since the update may have brought it from another one. */
  #pending(table: MovedTable, target: number, key: readonly string[]): PartialRow | null {
    for (const batch of [this.#batches[target], ...this.#batches]) {
      const found = batch?.find(table, key) ?? null
      if (found !== null) return found
    }
    return null
  }

  /** Fills in the values that rows lack, all of a table at once, before anything of the batches is applied. */
  async #fillIn(batches: readonly TargetBatch[]): Promise<void> {
    for (const [target, batch] of batches.entries()) {
      for (const { table, rows } of batch.partial()) await this.#fillRows(table, target, rows)
    }
  }

  async #fillRows(table: MovedTable, target: number, rows: readonly PartialRow[]): Promise<void> {
    const { targets, reader } = this.#parts
    const columns = table.columns.flatMap((_, position) =>
      rows.some(({ values }) => values[position] === unchanged) ? [position] : [],
    )
    let missing = rows
    for (const place of [targets[target], ...targets]) {
      if (missing.length === 0) return
      if (place === undefined) continue
      const found = await place.readRows(
        table,
        missing.map(({ origin }) => origin),
        columns,
      )
      missing = missing.filter((row, index) => !fill(row, columns, found[index] ?? null))
    }
    if (missing.length === 0) return
    // Copied under the new key, not under the old: what the source has by now is corrected by what is still to come.
    const current = await reader.readRows(
      table,
      missing.map(({ key }) => key),
      columns,
    )
    const [lost] = missing.filter((row, index) => !fill(row, columns, current[index] ?? null))
    if (lost === undefined) return
    // Neither: the row has moved on at the source. The unit that it came to is copied anew, and has it or not.
    const unit = this.#parts.units.get(table.name)?.unitOf(lost.key[0] ?? '')
    throw new StaleUnit(this.#parts.source, table, unit?.number ?? 1)
  }

  #isFull(): boolean {
    return this.#batches.some(({ rows, bytes }) => rows >= batchRowsMax || bytes >= batchBytesMax)
  }

  /**
   * Gives the targets what was gathered, once they have done with what they got before. In the middle of a transaction
   * of the source theirs stay open, since it may be larger than a batch; at its end they are committed.
   */
  async #handOn(at: 'middle' | 'end'): Promise<void> {
    await this.#carrying
    const batches = this.#batches
    this.#batches = batches.map(() => new TargetBatch())
    const carrying = this.#carry(
      batches,
      at === 'end' ? { commit: this.#lastCommit, read: this.#position } : null,
    )
    carrying.catch((error: unknown) => {
      this.#failure ??= { error }
      this.#wake()
    })
    this.#carrying = carrying
  }

  async #carry(
    batches: readonly TargetBatch[],
    end: { readonly commit: Lsn; readonly read: Lsn } | null,
  ): Promise<void> {
    const { source, targets, stream } = this.#parts
    await this.#fillIn(batches)
    await allOf(
      targets.map((target, index) => {
        const batch = batches[index]
        return batch === undefined || batch.isEmpty ? Promise.resolve() : this.#apply(target, batch)
      }),
    )
    if (end === null) return
    if (end.commit > this.#flushed) {
      await allOf(targets.map((target) => target.finish(source, end.commit)))
      this.#flushed = end.commit
    }
    // An idle database writes log as well, which need not be kept.
    stream.acknowledge(end.read)
  }

  async #apply(target: TargetWriter, batch: TargetBatch): Promise<void> {
    const { source, own } = this.#parts
    const changes: TableChanges[] = []
    for (const change of batch.take())
      changes.push(await ownChanges({ ...own, source }, target, change, this.#signal))
    await target.apply(changes)
  }

  /** Everything that was read is applied and committed. */
  async #flush(): Promise<void> {
    await this.#handOn('end')
    await this.#carrying
  }
}

/** @returns false when there is nothing to fill in from */
function fill(
  row: PartialRow,
  columns: readonly number[],
  found: readonly (string | null)[] | null,
): boolean {
  if (found === null) return false
  for (const [index, position] of columns.entries()) {
    if (row.values[position] === unchanged) row.values[position] = found[index] ?? null
  }
  return true
}

/** Waits for all, also when one fails: none may go on behind the back of the clean-up. */
async function allOf(promises: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(promises)
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

function refused(message: string): FleetError {
  return new FleetError('reshard_refused', message, {
    hint: 'start the move again, and leave the table as it is until its end',
  })
}
