// From a call, its keyspace's map and the shard's names to what a session has to run.
import type { ShardMap } from '@fleetshard/core'
import { keyParametersOf, planOf } from '../plan/mod.ts'
import type { StatementCall, Traceparent } from './calls.ts'
import type { SchemaFacts } from './schema-facts.ts'
import type { StatementWork } from './session-work.ts'
import { traitsOf } from './traits.ts'

/** The work of one statement. */
export function workOf(
  call: Pick<StatementCall, 'known' | 'text' | 'params' | 'consumer'> & {
    readonly traceparent?: Traceparent | undefined
  },
  map: ShardMap,
  facts: SchemaFacts,
): StatementWork {
  const { kind } = call.known.facts
  return {
    text: call.text ?? call.known.text,
    params: call.params,
    consumer: call.consumer,
    commitsAtSync: kind === 'read' || kind === 'locking' || kind === 'write',
    keys: map.owners.length > 1 ? keyParametersOf(planOf(call.known, map)) : [],
    domains: facts.domains,
    looksFirst: kind === 'write',
    counts: traitsOf(call.known, facts).counts,
    traceparent: call.traceparent ?? null,
  }
}
