// Bodies of the router's endpoints. Only what is set is sent: an older router refuses fields that it does not know.
import { formatSessionToken, type SessionToken } from '@fleetshard/core'
import type { Consistency, Statement, Target } from '../statement.ts'

/** What every call of a client sends. */
export interface CommonFields {
  readonly keyspace: string
  readonly consistency: Consistency
  /** What the statement must see; null for none. */
  readonly token: SessionToken | null
  readonly timeoutMs: number
  /** Null for streams, which have no limit. */
  readonly rowsMax: number | null
}

/** Most that a router takes as `max_rows`. */
const rowsMaxMax = 10_000_000

type Fields = Record<string, unknown>

/** The body of POST /v1/execute. */
export function executeBody({ text, params, target, options }: Statement, common: CommonFields): Fields {
  const { consistency, token } = common
  return {
    ...keyOf(target),
    query: text,
    ...(params.length === 0 ? {} : { params }),
    consistency: consistency === 'strong' ? 'strong' : 'eventual',
    options: {
      ...commonOptions(target, common),
      timeout_ms: common.timeoutMs,
      ...(common.rowsMax === null ? {} : { max_rows: Math.min(common.rowsMax, rowsMaxMax) }),
      ...stalenessOf(consistency),
      ...(token === null ? {} : { session_token: formatSessionToken(token) }),
      ...(options.readOnly === true ? { read_only: true } : {}),
      ...(options.idempotencyKey === undefined ? {} : { idempotency_key: options.idempotencyKey }),
    },
  }
}

/** `shard_key` of a target that is named by one. */
export const keyOf = (target: Target): Fields => (target.kind === 'key' ? { shard_key: target.key } : {})

/** `options` that a target and a connection bring. */
export function commonOptions(target: Target, { keyspace }: Pick<CommonFields, 'keyspace'>): Fields {
  return {
    keyspace,
    ...(target.kind === 'shard' ? { shard_id: target.id } : {}),
    ...(target.kind === 'shard' && target.part ? { all_shards: true } : {}),
  }
}

const stalenessOf = (consistency: Consistency): Fields =>
  typeof consistency === 'object' && 'maxStalenessMs' in consistency
    ? { max_staleness_ms: consistency.maxStalenessMs }
    : {}
