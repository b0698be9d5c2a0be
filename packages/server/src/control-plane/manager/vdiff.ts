// From a request to a `vdiff` job; a worker carries it out.
import { randomUUID } from 'node:crypto'
import { FleetError, parseJobId, type JobRecord, type KeyspaceSnapshot } from '@fleetshard/core'
import type { CreateVdiff } from '@fleetshard/core/contract'
import {
  newVdiffJobDetail,
  parseReshardJobDetail,
  vdiffJobType,
  vdiffTablesMax,
  type VdiffJobDetail,
} from '../../engine/mod.ts'
import type { Work } from './parts.ts'
import { requireReshardJob } from './reshard/control.ts'
import { openReshardJobs } from './reshard/guard.ts'

/** @throws FleetError `not_found`, `conflict` while rows are being moved or compared, `invalid_request` */
export async function submitVdiff(work: Work, keyspace: string, body: CreateVdiff): Promise<JobRecord> {
  const { parts, change, signal } = work
  const snapshot = parts.fleet.keyspace(keyspace)
  const detail = newVdiffJobDetail({
    compares: comparesOf(work, snapshot, body.job_id),
    tables: tablesOf(work, snapshot, body.tables),
  })
  const { name } = snapshot.keyspace
  return parts.mutex.run(name, signal, async () => {
    refuseOthers(work, name)
    const { record } = await parts.catalog.jobs.create(
      {
        id: parseJobId(`${vdiffJobType}-${randomUUID().slice(0, 8)}`),
        type: vdiffJobType,
        keyspace: name,
        status: 'pending',
        state: 'planned',
        progress: 0,
        detail,
        errorCode: null,
        errorMessage: null,
        version: 1,
        createdAt: new Date(parts.clock.now()).toISOString(),
        startedAt: null,
        completedAt: null,
        ...change.traced,
      },
      { conditions: [change.condition], signal },
    )
    await parts.fleet.shown(({ jobs }) => jobs.has(record.id))
    return record
  })
}

/** @throws FleetError `not_found` for a job of another kind */
export function requireVdiffJob(job: JobRecord): JobRecord {
  if (job.type === vdiffJobType) return job
  throw new FleetError('not_found', `the job ${job.id} compares nothing`, {
    hint: 'see it with fleetshard job get',
  })
}

function refuseOthers(work: Work, keyspace: KeyspaceSnapshot['keyspace']['name']): void {
  const [moving] = openReshardJobs(work, keyspace)
  if (moving !== undefined) {
    throw new FleetError('conflict', `the job ${moving.id} is moving rows of ${keyspace}`, {
      hint: 'compare when it has ended; it compares for itself what it moves',
      facts: { job_id: moving.id },
    })
  }
  const open = [...work.parts.fleet.state().jobs.values()]
    .map(({ record }) => record)
    .find(
      (job) =>
        job.type === vdiffJobType &&
        job.keyspace === keyspace &&
        (job.status === 'pending' || job.status === 'running'),
    )
  if (open === undefined) return
  throw new FleetError('conflict', `the job ${open.id} is comparing ${keyspace}`, {
    hint: `wait for it: fleetshard job get ${open.id}`,
    facts: { job_id: open.id },
  })
}

function tablesOf(
  { parts }: Work,
  snapshot: KeyspaceSnapshot,
  wanted: readonly string[] | undefined,
): VdiffJobDetail['tables'] {
  if (wanted !== undefined) return wanted.map((name) => parts.fleet.table(snapshot, name).name)
  if (snapshot.tables.length <= vdiffTablesMax) return null
  throw new FleetError(
    'invalid_request',
    `the keyspace has more tables than the ${String(vdiffTablesMax)} that are compared at once`,
    { hint: 'name the tables' },
  )
}

function comparesOf(
  { parts }: Work,
  { shards }: KeyspaceSnapshot,
  id: string | undefined,
): VdiffJobDetail['compares'] {
  if (id === undefined) return { kind: 'shards' }
  const job = requireReshardJob(parts.fleet.job(id))
  if (job.status !== 'completed') {
    throw new FleetError('conflict', `the job ${id} is ${job.status}: there is nothing to compare`, {
      hint: 'compare the sources and targets of a completed job',
      retryable: false,
    })
  }
  const detail = parseReshardJobDetail(job.detail)
  const { sources } = detail
  const targets = detail.targets.map(({ shard }) => shard)
  const gone = [...sources, ...targets].find((one) => !shards.some((shard) => shard.id === one))
  if (gone === undefined) return { kind: 'job', job: id, sources, targets }
  throw new FleetError('not_found', `the shard ${gone} of the job ${id} was deleted`, {
    hint: 'compare all shards instead: leave out the job',
  })
}
