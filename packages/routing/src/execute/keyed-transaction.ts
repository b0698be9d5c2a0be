// Transactions under an idempotency key: done once, however often they are sent. What may have happened is looked up
// by trying again, so that a lost connection leaves no doubt.
import { createHash } from 'node:crypto'
import { assertNever, FleetError, isFleetError, type SessionPosition, type ShardMap } from '@fleetshard/core'
import { keyHashOf } from '../plan/key-hash.ts'
import { idempotencyTableSql } from '../idempotency.ts'
import { exec } from '../wire/mod.ts'
import { placeTogether, refuseHidden, refuseOldMap, refuseState } from './checks.ts'
import type { Idempotency, TransactionAnswer, TransactionCall } from './calls.ts'
import type { ExecutorParts } from './executor.ts'
import { giveBack } from './give-back.ts'
import { findRecord, runKeyed, sweepRecords, type Claim, type KeyedEnd } from './keyed-run.ts'
import { notTooDeep } from './parameters.ts'
import { askPrimary, PositionBehind } from './positions.ts'
import { tokenAfter } from './session-reads.ts'
import { forgetOthers } from './recall.ts'
import type { Session } from './session.ts'
import type { NodeAccess, ShardAccess } from './shard-access.ts'
import { replayResults } from './stored-results.ts'
import { traitsOf, worseLeft } from './traits.ts'
import { workOf } from './work-of.ts'

/** A transaction with a key. Its statements have been looked at, but not yet placed. */
export interface KeyedTransactionCall extends TransactionCall {
  readonly idempotency: Idempotency
}

/** An attempt is made at most this often; more than for others, since each may end a doubt. */
const attemptsMax = 5
/** Serialises the making of the table: 'FSIDEMP' in ASCII. */
const installLockKey = '19796586889104720'
/** How often old records of a shard are looked for, at most. */
const sweepEveryMsMax = 10_000

/** What one attempt found out. */
type Attempted =
  | { readonly kind: 'answer'; readonly answer: TransactionAnswer }
  | { readonly kind: 'again' }
  | Extract<KeyedEnd, { kind: 'lost' }>
  | { readonly kind: 'failed'; readonly error: unknown; readonly claimed: boolean }

interface Place {
  readonly map: ShardMap
  readonly access: ShardAccess
  readonly node: NodeAccess
}

/**
 * Runs it, or answers from its record.
 * @throws FleetError as the executor's `transaction`; `idempotency_mismatch`, `replay_without_rows`
 */
export async function runKeyedTransaction(
  parts: ExecutorParts,
  call: KeyedTransactionCall,
): Promise<TransactionAnswer> {
  const fingerprint = fingerprintOf(call)
  /** Set as long as an earlier attempt may have been committed. */
  let doubt: FleetError | null = null
  for (let attempt = 1; ; attempt += 1) {
    const map = call.map()
    const attempted = await attemptOnce(parts, call, { map, fingerprint }).catch(thrown)
    if (attempted.kind === 'answer') return attempted.answer
    if (attempted.kind === 'failed' && attempted.claimed) doubt = null
    if (attempted.kind === 'lost' && attempted.outcome === 'unknown') doubt = attempted.error
    try {
      const isFinal = call.statements.some(({ consumer }) => consumer.isFinal === true)
      const last = attempt === attemptsMax || isFinal || call.cancellation.reason !== null
      await another(parts, call, { attempted, map, last, inDoubt: doubt !== null })
    } catch (error) {
      throw doubtful(error, doubt)
    }
    for (const { consumer } of call.statements) consumer.reset()
  }
}

const thrown = (error: unknown): Attempted => ({ kind: 'failed', error, claimed: false })

interface Before {
  readonly attempted: Exclude<Attempted, { kind: 'answer' }>
  readonly map: ShardMap
  readonly last: boolean
  readonly inDoubt: boolean
}

/** Resolves when another attempt is worth it. @throws the error of the one before when it is not */
async function another(parts: ExecutorParts, call: KeyedTransactionCall, before: Before): Promise<void> {
  const { attempted, map, last, inDoubt } = before
  if (attempted.kind === 'again') {
    if (last) throw new FleetError('conflict', 'the record of the idempotency key comes and goes')
    return
  }
  if (last) throw attempted.error
  if (attempted.kind === 'lost') {
    parts.metrics.retried('lost')
    return
  }
  if (isFleetError(attempted.error, 'stale_map')) {
    parts.metrics.retried('stale_map')
    await call.cancellation.until(call.map() === map ? parts.newerMap(map) : Promise.resolve())
    return
  }
  // A server that restarts can tell soon what it has done.
  if (!inDoubt || !isFleetError(attempted.error, 'shard_unavailable')) throw attempted.error
}

async function attemptOnce(
  parts: ExecutorParts,
  call: KeyedTransactionCall,
  { map, fingerprint }: { map: ShardMap; fingerprint: string },
): Promise<Attempted> {
  const { shardKey, shardId, idempotency, cancellation } = call
  const shard = placeTogether(call, map)
  for (const { known } of call.statements) refuseState(shard, known.facts)
  const access = parts.access(shard)
  let node: NodeAccess | null = null
  try {
    const facts = await access.schemaFacts(cancellation)
    for (const statement of call.statements) refuseHidden({ ...statement, shardKey, shardId }, map, facts)
    node = access.primary()
    const session = await node.pool.borrow(cancellation)
    const left = call.statements
      .map(({ known }) => traitsOf(known, facts).leaves)
      .reduce(worseLeft, 'nothing')
    try {
      refuseOldMap(session, map)
      forgetOthers(session, call.statements)
      parts.metrics.routed('primary', 'alone')
      const at = { shard: shard.id, node: node.node.id, epoch: map.epoch }
      for (const { consumer } of call.statements) consumer.placed?.(at)
      const { statements, traceparent } = call
      const works = statements.map((one) => workOf({ ...one, traceparent }, map, facts))
      const { key, expiryMs } = idempotency
      const claim = { key, expiryMs, fingerprint, shardHash: keyHashOf(call, map) }
      const { options, token } = call
      const position = new PositionBehind(session)
      const behind = token === null ? undefined : position.ask
      const end = await runKeyed(parts, session, { works, options, claim, cancellation, behind })
      const written = await position.answer
      if (call.statements.some(({ known }) => known.facts.kind === 'ddl')) access.schemaChanged()
      return await attemptedOf(session, end, { call, claim, written, place: { map, access, node } })
    } finally {
      const { pool } = node
      sweep(parts, session, { access, expiryMs: idempotency.expiryMs }).then(
        () => {
          giveBack(parts, pool, { session, left })
        },
        () => {
          giveBack(parts, pool, { session, left })
        },
      )
    }
  } catch (error) {
    if (!(error instanceof FleetError)) throw error
    throw error.withFacts({ shard_id: shard.id, ...(node === null ? {} : { node: node.node.id }) })
  }
}

interface Keyed {
  readonly call: KeyedTransactionCall
  readonly claim: Claim
  /** Where the write lies, where that was asked. */
  readonly written: SessionPosition | null
  readonly place: Place
}

async function attemptedOf(
  session: Session,
  end: KeyedEnd,
  { call, claim, written, place }: Keyed,
): Promise<Attempted> {
  const { access, node, map } = place
  const token = call.token === null ? null : tokenAfter(call.token, access.record, written)
  const answered = { shard: access.record, node: node.node.id, epoch: map.epoch, token }
  switch (end.kind) {
    case 'failed':
    case 'lost':
      return end
    case 'done':
      return { kind: 'answer', answer: { ...answered, rowCounts: end.rowCounts, replayed: false } }
    case 'uninstalled':
      await install(session)
      return { kind: 'again' }
    case 'taken': {
      const record = await findRecord(session, claim.key)
      if (record === null) return { kind: 'again' }
      if (record.fingerprint !== claim.fingerprint) throw mismatch()
      const consumers = call.statements.map(({ consumer }) => consumer)
      for (const consumer of consumers) consumer.reset()
      const rowCounts = replayResults(record, consumers)
      // The write lies somewhere before where the log ends now.
      const seen =
        call.token === null ? null : tokenAfter(call.token, access.record, await askPrimary(session))
      return { kind: 'answer', answer: { ...answered, token: seen, rowCounts, replayed: true } }
    }
    default:
      return assertNever(end)
  }
}

/** Makes the table on the first key of a shard; a static one must have the schema for it. */
async function install(session: Session): Promise<void> {
  const lock = `select pg_catalog.pg_advisory_xact_lock(${installLockKey})`
  try {
    await exec(session.connection, ['begin', lock, ...idempotencyTableSql, 'commit'].join(';'))
  } catch (cause) {
    await exec(session.connection, 'rollback').catch(() => undefined)
    if (!isFleetError(cause) || !noPlaceForKeys.has(cause.sqlstate)) throw cause
    throw new FleetError('statement_refused', 'the shard has no place for idempotency keys', {
      hint: 'create it: CREATE SCHEMA fleetshard AUTHORIZATION <the user of the router>; or send the write without a key',
      cause,
    })
  }
}

/** The schema is missing, as in the databases of a topology file, or belongs to somebody else. */
const noPlaceForKeys = new Set(['3F000', '42501'])

/** Removes old records when it is time to, behind the answer. */
async function sweep(
  parts: ExecutorParts,
  session: Session,
  { access, expiryMs }: { access: ShardAccess; expiryMs: number },
): Promise<void> {
  const now = parts.clock.monotonic()
  const { connection, canceling } = session
  const isIdle = connection.state === 'open' && connection.transactionStatus === 'idle' && canceling === null
  if (!isIdle || access.sweepAtMs > now) return
  access.sweepAtMs = now + Math.min(expiryMs, sweepEveryMsMax)
  if (await sweepRecords(session)) access.sweepAtMs = now
}

/** What is repeated must be the same; the surface that it came by does not matter. */
function fingerprintOf(call: KeyedTransactionCall): string {
  const write = (): string =>
    JSON.stringify(
      call.statements.map(({ known, params }) => [known.text, params]),
      (_name, value: unknown) => {
        if (typeof value === 'bigint') return String(value)
        return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value
      },
    )
  return createHash('sha256').update(notTooDeep(write, null)).digest('hex')
}

/** An error that leaves it open whether an earlier attempt was committed. */
function doubtful(error: unknown, doubt: FleetError | null): unknown {
  const resolved = isFleetError(error, 'idempotency_mismatch') || isFleetError(error, 'replay_without_rows')
  if (doubt === null || resolved) return error
  return new FleetError(
    'outcome_unknown',
    `the connection was lost before the write was acknowledged: ${doubt.message}`,
    {
      hint: 'send it again with the same idempotency key: it is done once',
      retryable: true,
      cause: error,
    },
  )
}

const mismatch = (): FleetError =>
  new FleetError(
    'idempotency_mismatch',
    'the idempotency key was used for another statement or other params',
    {
      hint: 'use a new key for each write; send a repetition exactly as the first request',
    },
  )
