// Routing changes as the leader makes them: on the newest state that is known, so that a change need not read the
// whole keyspace again, and conditioned on leadership.
import { FleetError, type Epoch, type KeyspaceName } from '@fleetshard/core'
import type { Catalog, PlanRouting, StoredKeyspace } from '../../catalog/mod.ts'
import type { Change } from './changes.ts'
import type { Fleet } from './fleet.ts'

/** Reads and changes keyspaces on the newest known state. An old base costs a conflict and a read, nothing else. */
export interface Routing {
  /** The keyspace as of the last routing change of this manager, or later. @throws FleetError `not_found` */
  base(keyspace: KeyspaceName, signal: AbortSignal): Promise<StoredKeyspace>
  /**
   * Epoch e → e+1. @throws FleetError as `Catalog.changeRouting`
   * @param expectedEpoch any other epoch is `version_mismatch`
   */
  change(
    keyspace: KeyspaceName,
    plan: PlanRouting,
    change: Pick<Change, 'condition' | 'signal'>,
    expectedEpoch?: Epoch,
  ): Promise<StoredKeyspace>
}

/** Nothing is known besides the live copy. */
export function createRouting(catalog: Catalog, fleet: Fleet): Routing {
  const committed = new Map<KeyspaceName, StoredKeyspace>()

  function known(keyspace: KeyspaceName): StoredKeyspace | undefined {
    const live = fleet.state().stored.get(keyspace)
    const own = committed.get(keyspace)
    if (own === undefined || (live !== undefined && live.snapshot.epoch >= own.snapshot.epoch)) {
      committed.delete(keyspace)
      return live
    }
    return own
  }

  async function base(keyspace: KeyspaceName, signal: AbortSignal): Promise<StoredKeyspace> {
    const found = known(keyspace) ?? (await catalog.keyspaces.read(keyspace, signal))
    if (found !== null) return found
    throw new FleetError('not_found', `there is no keyspace ${keyspace}`, {
      hint: 'list them: fleetshard keyspace list',
    })
  }

  return {
    base,
    async change(keyspace, plan, { condition, signal }, expectedEpoch) {
      const made = await catalog.changeRouting(keyspace, plan, {
        conditions: [condition],
        base: await base(keyspace, signal),
        signal,
        ...(expectedEpoch === undefined ? {} : { expectedEpoch }),
      })
      committed.set(keyspace, made)
      return made
    },
  }
}
