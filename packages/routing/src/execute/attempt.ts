// One attempt to run a statement: where it is tried, how it went, and where an error came from.
import { FleetError, type SessionToken, type ShardMap, type ShardRecord } from '@fleetshard/core'
import type { StatementCall } from './calls.ts'
import type { SchemaFacts } from './schema-facts.ts'
import type { WorkEnd } from './session-work.ts'
import type { NodeAccess, ShardAccess } from './shard-access.ts'
import type { Traits } from './traits.ts'

/** One try to run a statement. */
export interface Attempt {
  readonly call: StatementCall
  readonly shard: ShardRecord
  readonly map: ShardMap
  readonly access: ShardAccess
  readonly failedNodes: Set<NodeAccess>
  /** Set after the lane turned out to be the wrong place. */
  noLane: boolean
}

/** What the shard's database says of a statement. */
export interface Work {
  readonly traits: Traits
  readonly facts: SchemaFacts
}

/** How a run went, and what decides whether another may follow. */
export interface Ran {
  readonly ended: WorkEnd
  readonly token: SessionToken | null
  readonly inLane: boolean
}

/** An error that came from a shard, saying from where. */
export function at(error: unknown, shard: ShardRecord, node: NodeAccess | null): unknown {
  if (!(error instanceof FleetError)) return error
  return error.withFacts({ shard_id: shard.id, ...(node === null ? {} : { node: node.node.id }) })
}

/** As metrics count nodes. */
export const roleOf = ({ role }: NodeAccess['node']): 'primary' | 'replica' =>
  role === 'primary' ? 'primary' : 'replica'
