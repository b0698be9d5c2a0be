// POST /v1/transactions and what follows: a transaction begun by one request, used and ended by later ones.
import { FleetError, mergeSessionTokens, parseKeyspaceName, requireGrant } from '@fleetshard/core'
import { refuseWriting } from '@fleetshard/routing/execute'
import {
  BeginRequest,
  compileParser,
  EndRequest,
  HeldExecuteRequest,
  type ExecuteOptions,
} from '@fleetshard/core/contract'
import type { StatementAnswer, Traceparent } from '@fleetshard/routing/execute'
import { JsonRows } from './json-rows.ts'
import { orNotFound, type OpenTransaction } from './open-transactions.ts'
import {
  executeAnswer,
  formatOf,
  knownOf,
  onShard,
  shardIdOf,
  tokenOf,
  tokenText,
  watchDeadline,
  type QueryAnswer,
  type QueryCall,
  type QueryParts,
} from './query.ts'

const parseBegin = compileParser(BeginRequest, 'body')
const parseExecute = compileParser(HeldExecuteRequest, 'body')
const parseEnd = compileParser(EndRequest, 'body')

/** Answers POST /v1/transactions. @throws FleetError; then nothing was begun */
export async function answerBegin(parts: QueryParts, body: unknown, call: QueryCall): Promise<QueryAnswer> {
  const request = parseBegin(body)
  const options = request.options ?? {}
  const keyspace = parseKeyspaceName(options.keyspace ?? 'default')
  const { principal } = call
  const onlyReads = requireGrant(principal, keyspace) === 'read'
  const map = () => parts.map(keyspace)
  const stop = watchDeadline(parts, {}, call)
  try {
    const begin = () =>
      parts.executor.begin({
        shardKey: request.shard_key,
        shardId: shardIdOf(options),
        options: {
          isolation: request.isolation ?? 'read committed',
          readOnly: onlyReads || (request.read_only ?? false),
          onlyReads,
        },
        idleMs: options.idle_timeout_ms ?? parts.limits.transactionIdleMs,
        map,
        cancellation: call.cancellation,
      })
    const { id, held } = await parts.transactions.add(begin, {
      keyspace,
      map,
      principal,
      token: tokenOf(options, call),
    })
    if (call.cancellation.reason !== null) {
      // Nobody has got the id.
      await held.giveUp()
      throw call.cancellation.reason
    }
    return json(201, { transaction_id: id, ...placeOf(held) })
  } finally {
    stop()
  }
}

/** Answers POST /v1/transactions/{id}/execute. @throws FleetError; then the transaction was rolled back */
export async function answerHeldExecute(
  parts: QueryParts,
  body: unknown,
  call: QueryCall,
): Promise<QueryAnswer> {
  const transaction = find(parts, call)
  const request = parseExecute(body)
  const options = request.options ?? {}
  refuseOther(transaction, options)
  const stop = watchDeadline(parts, options, call)
  try {
    const rows = new JsonRows(formatOf(options, parts.limits))
    call.ran.map = transaction.map()
    const asked = {
      known: async () => {
        const known = await knownOf(parts, request.query, call.cancellation)
        if (requireGrant(call.principal, transaction.keyspace) === 'read') refuseWriting(known.facts)
        call.ran.statements = [known]
        return known
      },
      readOnly: options.read_only ?? false,
      params: request.params ?? [],
      consumer: rows,
      map: transaction.map,
      cancellation: call.cancellation,
    }
    const run = (traceparent: Traceparent): Promise<StatementAnswer> =>
      transaction.held.execute({ ...asked, traceparent })
    const { span } = call.ran
    const { keyspace } = transaction
    const answer = span === null ? await run(null) : await onShard(span, keyspace, request.query, run)
    call.ran.shard = answer.shard
    call.ran.rows = answer.rowCount
    return executeAnswer(parts, { rows, answer, call })
  } catch (error) {
    throw orNotFound(error)
  } finally {
    stop()
  }
}

/** Answers POST /v1/transactions/{id}/commit. @throws FleetError `transaction_aborted`, `outcome_unknown` and others */
export async function answerCommit(parts: QueryParts, body: unknown, call: QueryCall): Promise<QueryAnswer> {
  const { held, token: known } = find(parts, call)
  parseEnd(body)
  const stop = watchDeadline(parts, {}, call)
  try {
    const sent = tokenOf({}, call)
    const token = await held.commit(
      call.cancellation,
      sent === null || known === null ? (sent ?? known) : mergeSessionTokens(known, sent),
    )
    return { ...json(200, { ...placeOf(held), session_token: tokenText(token) }), token }
  } catch (error) {
    throw orNotFound(error)
  } finally {
    stop()
  }
}

/** Answers POST /v1/transactions/{id}/rollback. @throws FleetError `transaction_not_found`, `transaction_busy` */
export async function answerRollback(
  parts: QueryParts,
  body: unknown,
  call: QueryCall,
): Promise<QueryAnswer> {
  const { held } = find(parts, call)
  parseEnd(body)
  try {
    await held.rollback()
    return json(200, placeOf(held))
  } catch (error) {
    throw orNotFound(error)
  }
}

/** Of whoever has begun it: to others it is not there. */
const find = ({ transactions }: QueryParts, { transactionId, principal }: QueryCall): OpenTransaction =>
  transactions.get(transactionId ?? '', principal)

/** Options that name a place may be repeated, but not changed. */
function refuseOther(
  { keyspace, held }: OpenTransaction,
  options: Pick<ExecuteOptions, 'keyspace' | 'shard_id' | 'idempotency_key'>,
): void {
  if (options.idempotency_key !== undefined) {
    throw new FleetError('invalid_request', 'a statement of an open transaction takes no idempotency key', {
      hint: 'send the statements together to POST /v1/transaction with the key',
    })
  }
  const isOther =
    (options.keyspace ?? keyspace) !== keyspace || (options.shard_id ?? held.shard.id) !== held.shard.id
  if (!isOther) return
  throw new FleetError('invalid_request', `the transaction runs on shard ${held.shard.id} of ${keyspace}`, {
    hint: 'leave out options.keyspace and options.shard_id: the transaction has them',
  })
}

const placeOf = ({ shard, node, epoch }: OpenTransaction['held']): Record<string, unknown> => ({
  shard_id: shard.id,
  node,
  epoch,
})

const noBytes = Buffer.alloc(0)

const json = (status: number, body: Record<string, unknown>): QueryAnswer => ({
  status,
  parts: [Buffer.from(JSON.stringify(body)), noBytes, noBytes],
})
