// What the calls of the mode `http` share: their parts, their grace, and the result in an answer.
import type { Clock } from '@fleetshard/core'
import { arrayAt, numberAt, textAt, type JsonObject } from '../json-reader.ts'
import type { Limits } from '../options.ts'
import type { ClientSession } from '../session.ts'
import type { Consistency, Result } from '../statement.ts'
import type { TopologyFollower } from '../topology/follower.ts'
import type { Routers } from './routers.ts'
import { columnsOf, decodeObjects } from './values.ts'

/** What the mode is made of. */
export interface HttpParts {
  readonly clock: Clock
  readonly routers: Routers
  readonly topology: TopologyFollower
  readonly keyspace: string
  readonly consistency: Consistency | undefined
  readonly limits: Limits
  readonly session: ClientSession
}

/** A router ends a statement by itself; what comes this much later is the network's fault. */
export const graceMs = 5_000

/** The result in an answer. `place` says where it ran. */
export function resultOf(answer: JsonObject, place: JsonObject): Result {
  const columns = columnsOf(answer)
  return {
    rows: decodeObjects(arrayAt(answer, 'rows'), columns),
    rowCount: numberAt(answer, 'row_count'),
    replayed: answer['replayed'] === true,
    columns,
    shardId: textAt(place, 'shard_id'),
    node: textAt(place, 'node'),
    epoch: numberAt(place, 'epoch'),
  }
}
