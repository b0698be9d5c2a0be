// Act: a shard is split among the one that was added and a fresh one, while statements run. None may fail, the copy must be
// proven alike before the ranges change hands, and afterwards every row must lie where the map says, once.
import { FleetError } from '@fleetshard/core'
import type { ReshardJob } from '@fleetshard/core/contract'
import type { Act, ActOutcome, Stage } from './act.ts'
import { failuresOf } from './findings.ts'
import { inspectShards } from './inspect-servers.ts'
import { clients, Traffic } from './traffic.ts'
import { counted, quantile, rateOf, timed } from './wording.ts'

const pollMs = 50
const jobMsMax = 300_000

/** Counts statements, and those that failed, from the beginning of the split to its end. */
export const splitShard: Act = {
  name: 'split',
  title: 'a shard is split, and statements go on',
  async run(stage, say) {
    const { admin, clock, keyspace, signal } = stage
    const shards = [...(await stage.map()).shards.values()]
    const source = shards.find(({ vnodes }) => vnodes !== '')
    const added = shards.find(({ vnodes }) => vnodes === '')
    if (source === undefined || added === undefined)
      throw new FleetError('internal', 'there is no shard to split, or none that owns nothing')
    const fresh = `shard-${String(shards.length + 1).padStart(2, '0')}`
    await admin.shards.create({ name: fresh, keyspace, nodes: 'embedded', replica_count: 0 }, { signal })
    const traffic = new Traffic(stage)
    try {
      await traffic.more(clients)
      traffic.begin()
      const begunMs = clock.monotonic()
      const begun = await admin.reshard.split(
        {
          source_shard_id: source.id,
          target_shards: [{ name: added.name }, { name: fresh }],
          reversible_seconds: 0,
        },
        { signal },
      )
      const job = await awaitEnd(stage, begun.id, say)
      const tookMs = clock.monotonic() - begunMs
      await traffic.more(traffic.counts().queries + clients)
      await traffic.end()
      return await outcomeOf(
        stage,
        { source: source.name, targets: [added.name, fresh], job, tookMs, traffic },
        say,
      )
    } finally {
      await traffic.end()
    }
  },
}

async function awaitEnd(
  { admin, clock, signal }: Stage,
  id: string,
  say: (text: string) => void,
): Promise<ReshardJob> {
  const untilMs = clock.monotonic() + jobMsMax
  for (let said = ''; ;) {
    const job = await admin.reshard.get(id, { signal })
    if (job.phase !== said) say(job.phase)
    said = job.phase
    if (job.completed_at !== null) return job
    if (clock.monotonic() > untilMs)
      throw new FleetError('deadline_exceeded', `the split is in ${job.phase} yet: ${job.waits_for ?? ''}`)
    await clock.sleep(pollMs, signal)
  }
}

interface Seen {
  readonly source: string
  readonly targets: readonly string[]
  readonly job: ReshardJob
  readonly tookMs: number
  readonly traffic: Traffic
}

async function outcomeOf(
  stage: Stage,
  { source, targets, job, tookMs, traffic }: Seen,
  say: (text: string) => void,
): Promise<ActOutcome> {
  const map = await stage.map()
  const owners = [...map.shards.values()].filter(({ vnodes }) => vnodes !== '')
  const findings = await inspectShards(stage, { map, shards: owners }, say)
  const { queries, writes } = traffic.counts()
  const { errorCount, errors } = traffic
  const latencies = traffic.latenciesMs.toSorted((a, b) => a - b)
  const longestMs = latencies.at(-1) ?? 0
  const differences = job.verify?.differences ?? ['nothing was compared']
  const wrong = findings.reduce((sum, finding) => sum + finding.wrong, 0)
  const verified = job.verify?.rows ?? 0
  return {
    figures: {
      split: {
        status: job.status,
        rows: job.keys_migrated,
        hold_ms: job.hold_ms,
        verified_rows: verified,
        differences: differences.length,
        queries,
        errors: errorCount,
        longest_query_ms: Number(longestMs.toFixed(2)),
        wrong_shard: wrong,
      },
    },
    lines: [
      `${source} to ${targets.join(' and ')}: ${counted(job.keys_migrated)} rows in ${timed(tookMs)}`,
      `${counted(verified)} rows were compared before, with ${counted(differences.length)} differences; then statements were held for ${timed(job.hold_ms ?? 0)}`,
      `meanwhile ${counted(queries - writes)} reads and ${counted(writes)} writes of one row each, ${counted(rateOf(queries, tookMs))}/s, ` +
        `${counted(errorCount)} errors; p99 ${timed(quantile(latencies, 0.99))}, the longest ${timed(longestMs)}`,
    ],
    failures: [
      ...(job.status === 'completed' ? [] : [`the split ${job.status}: ${job.error_message ?? ''}`]),
      ...(job.hold_ms === null ? ['the split does not tell for how long it held statements'] : []),
      ...differences.map((difference) => `the copy differed: ${difference}`),
      ...(errorCount > 0 ? [`${counted(errorCount)} statements failed: ${errors.join('; ')}`] : []),
      ...failuresOf(stage.dataSets, findings),
    ],
  }
}
