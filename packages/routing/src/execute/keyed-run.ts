// One attempt at a transaction under an idempotency key: BEGIN, the record and the first statement go out together,
// then the results into the record and COMMIT together. So the record is there if and only if the work is.
import type { FleetError } from '@fleetshard/core'
import { writeQuery } from '../pgwire/mod.ts'
import { query } from '../wire/mod.ts'
import { Cancellation } from './cancellation.ts'
import { cancelGraceMs } from './limits.ts'
import { runAlone, type StatementWork, type WorkParts } from './session-work.ts'
import type { Session } from './session.ts'
import { StatementRun, type RunEnd } from './statement-run.ts'
import { RecordedRows, keptRowsBytesMax, storeResults, type StoredResults } from './stored-results.ts'
import { beginWork, changedSettings, noRows, rollback, type TransactionOptions } from './transaction.ts'

/** What the record of a key says before there is an outcome. */
export interface Claim {
  readonly key: string
  readonly shardHash: string | null
  readonly fingerprint: string
  readonly expiryMs: number
}

/** What a keyed transaction does. */
export interface KeyedWork {
  readonly works: readonly StatementWork[]
  readonly options: TransactionOptions
  readonly claim: Claim
  readonly cancellation: Cancellation
  /** Sent behind the commit. */
  readonly behind: StatementWork['behind']
}

/**
 * How an attempt ended. `taken`: the key has a record. `uninstalled`: the shard has no table for it. `failed`: rolled
 * back; with `claimed` it is sure that no earlier attempt was committed either. `lost`: the connection is gone.
 */
export type KeyedEnd =
  | { readonly kind: 'done'; readonly rowCounts: readonly number[] }
  | { readonly kind: 'taken' }
  | { readonly kind: 'uninstalled' }
  | { readonly kind: 'failed'; readonly error: FleetError; readonly claimed: boolean }
  | { readonly kind: 'lost'; readonly error: FleetError; readonly outcome: 'aborted' | 'unknown' }

const claimSql = `insert into fleetshard.idempotency (key, shard_hash, fingerprint, expires_at)
  values ($1, $2, $3, pg_catalog.now() + $4::float8 * interval '1 millisecond')`
const keepSql = 'update fleetshard.idempotency set results = $2, rows = $3 where key = $1'
const findSql = `select fingerprint, results, rows, expires_at <= pg_catalog.now()
  from fleetshard.idempotency where key = $1`
const forgetSql = 'delete from fleetshard.idempotency where key = $1 and expires_at <= pg_catalog.now()'
const sweepSql = `delete from fleetshard.idempotency where key in (
  select key from fleetshard.idempotency where expires_at <= pg_catalog.now()
  order by expires_at limit $1::int for update skip locked)`

/** Old records removed in one go. */
export const sweepRowsMax = 500

/** Runs it. The session is outside of a transaction afterwards, or gone. */
export async function runKeyed(parts: WorkParts, session: Session, keyed: KeyedWork): Promise<KeyedEnd> {
  const { works, options, claim, cancellation } = keyed
  const begun = submitSimple(session, beginWork(options).text, true)
  const claimed = submitOwn(session, claimSql, [
    claim.key,
    claim.shardHash,
    claim.fingerprint,
    String(claim.expiryMs),
  ])
  using later = onceBegun(parts, session, { begun, cancellation })
  const budget = { bytesLeft: keptRowsBytesMax }
  const results = []
  for (const [index, work] of works.entries()) {
    const rows = new RecordedRows(work.consumer, budget)
    const { end } = await runAlone(parts, session, { ...work, consumer: rows }, later.cancellation)
    if (index === 0) {
      const refusal = refusalOf(await begun, await claimed, cancellation.reason)
      if (refusal !== null) return leave(parts, session, refusal)
    }
    const failure = failureOf(end, changedSettings(session) ?? cancellation.reason)
    if (failure !== null) {
      const named =
        failure.kind === 'failed' && works.length > 1
          ? { ...failure, error: failure.error.withFacts({ statement: index }) }
          : failure
      return leave(parts, session, named)
    }
    results.push(rows.result(end.kind === 'completed' ? end.rowCount : 0))
  }
  const rowCounts = results.map(({ rowCount }) => rowCount)
  return keepAndCommit(parts, session, { keyed, stored: storeResults(results, budget), rowCounts })
}

/** What stands under a key. */
export interface FoundRecord extends StoredResults {
  readonly fingerprint: string
}

/** The record of a key, on a session outside of a transaction; null when there is none, or when it was too old. */
export async function findRecord(session: Session, key: string): Promise<FoundRecord | null> {
  const { rows } = await query(session.connection, findSql, [key])
  const [fingerprint, results, hex, expired] = rows[0] ?? []
  if (fingerprint === undefined || fingerprint === null) return null
  if (expired === 't') {
    await query(session.connection, forgetSql, [key])
    return null
  }
  const kept = hex === undefined || hex === null ? null : Buffer.from(hex.slice(2), 'hex')
  return { fingerprint, results: results ?? '[]', rows: kept }
}

/** Removes some old records. @returns true when there may be more */
export async function sweepRecords(session: Session): Promise<boolean> {
  const end = await submitOwn(session, sweepSql, [String(sweepRowsMax)])
  return end.kind === 'completed' && end.rowCount === sweepRowsMax
}

/** What BEGIN and the record say; null when both are there. */
function refusalOf(begun: RunEnd, claimed: RunEnd, reason: FleetError | null): KeyedEnd | null {
  for (const end of [begun, claimed]) {
    if (end.kind === 'lost') return { kind: 'lost', error: end.error, outcome: 'aborted' }
  }
  if (begun.kind === 'error') return { kind: 'failed', error: begun.error, claimed: false }
  if (claimed.kind !== 'error') return null
  if (claimed.sqlstate === '23505') return { kind: 'taken' }
  if (claimed.sqlstate === '42P01' || claimed.sqlstate === '3F000') return { kind: 'uninstalled' }
  // Given up while it waited for another with the same key.
  return { kind: 'failed', error: reason ?? claimed.error, claimed: false }
}

function failureOf(end: RunEnd, reason: FleetError | null): KeyedEnd | null {
  if (end.kind === 'lost') return { kind: 'lost', error: end.error, outcome: 'aborted' }
  const error = end.kind === 'error' ? end.error : (end.refused ?? reason)
  return error === null ? null : { kind: 'failed', error, claimed: true }
}

async function leave(parts: WorkParts, session: Session, end: KeyedEnd): Promise<KeyedEnd> {
  if (end.kind !== 'lost') await rollback(parts, session, { kind: 'completed', rowCount: 0, refused: null })
  return end
}

/** As with every commit Postgres is not asked to cancel any more: what came of it could not be told. */
async function keepAndCommit(
  parts: WorkParts,
  session: Session,
  { keyed, stored, rowCounts }: { keyed: KeyedWork; stored: StoredResults; rowCounts: readonly number[] },
): Promise<KeyedEnd> {
  let stop: (() => void) | null = null
  keyed.cancellation.whenCancelled((reason) => {
    stop = parts.clock.after(cancelGraceMs, () => {
      session.connection.destroy(reason)
    })
  })
  // Where the record can't be kept the transaction has failed, and COMMIT rolls it back.
  const keeping = submitOwn(session, keepSql, [keyed.claim.key, stored.results, stored.rows])
  const committing = submitSimple(session, 'commit', false)
  // The simple protocol is never sent a second time: its answer comes first.
  keyed.behind?.(() => true)
  const [kept, committed] = await Promise.all([keeping, committing])
  keyed.cancellation.whenCancelled(null)
  ;(stop as (() => void) | null)?.()
  if (kept.kind === 'error') return { kind: 'failed', error: kept.error, claimed: true }
  if (committed.kind === 'error') return { kind: 'failed', error: committed.error, claimed: true }
  if (committed.kind === 'lost') return committed
  return { kind: 'done', rowCounts }
}

/**
 * A request to cancel that hit BEGIN would leave the statements behind it outside of a transaction. So a cancel waits
 * for its answer; a server that gives none loses the connection.
 */
function onceBegun(
  parts: WorkParts,
  session: Session,
  { begun, cancellation }: { begun: Promise<RunEnd>; cancellation: Cancellation },
): { readonly cancellation: Cancellation } & Disposable {
  const later = new Cancellation()
  let stop: () => void = () => undefined
  cancellation.whenCancelled((reason) => {
    stop = parts.clock.after(cancelGraceMs, () => {
      session.connection.destroy(reason)
    })
    void begun.then(() => {
      stop()
      later.cancel(reason)
    })
  })
  return {
    cancellation: later,
    [Symbol.dispose]: () => {
      stop()
    },
  }
}

/** A statement of the router's own, prepared, without rows. */
function submitOwn(
  session: Session,
  text: string,
  params: readonly (string | null | Uint8Array)[],
): Promise<RunEnd> {
  return new Promise((resolve) => {
    session.prepared.execute({ text, params, retryStale: false }, ownRun(true, resolve))
  })
}

/** By the simple protocol: nothing is prepared, so nothing can be sent again behind what follows. */
function submitSimple(session: Session, text: string, commitsAtSync: boolean): Promise<RunEnd> {
  return new Promise((resolve) => {
    session.connection.submitWith(
      (out) => {
        writeQuery(out, text)
      },
      ownRun(commitsAtSync, resolve),
    )
  })
}

const ownRun = (commitsAtSync: boolean, ended: (end: RunEnd) => void): StatementRun =>
  new StatementRun({ consumer: noRows, commitsAtSync, ended, refusing: () => undefined })
