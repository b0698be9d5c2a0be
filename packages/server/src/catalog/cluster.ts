// The cluster's identity: made once, by compare-and-set, by whoever asks first.
import type { CatalogDeps } from './catalog.ts'
import { keys } from './keys.ts'
import { putRecord, readRecord, type RecordAt } from './record-set.ts'
import { codecs, type ClusterRecord } from './records.ts'

/** @throws FleetError `catalog_unavailable`, `corrupt_record` */
export async function readCluster(deps: CatalogDeps, signal?: AbortSignal): Promise<ClusterRecord> {
  const at: RecordAt<ClusterRecord> = {
    store: deps.store,
    codec: codecs.cluster,
    key: keys.cluster,
    what: 'cluster',
  }
  for (;;) {
    const stored = await readRecord(at, signal)
    if (stored !== null) return stored.record
    const made = { id: deps.uuid(), createdAt: new Date(deps.clock.now()).toISOString() }
    const result = await at.store.commit([{ kind: 'absent', key: at.key }], [putRecord(at, made)], signal)
    if (result.kind === 'committed') return made
    // Somebody was faster; the record is there now and never deleted, so that this ends.
  }
}
