// Act: every row is read back through the router and compared with what was written, from the primaries (strong) and,
// once they have replayed all of it, from the replicas (eventual).
import type { Consistency } from '@fleetshard/core'
import type { Act, Stage } from './act.ts'
import { batchesOf, inLanes, progressOf, type Batch } from './batches.ts'
import { isSameRow, selectManyText } from './data-set.ts'
import { awaitReplay } from './servers.ts'
import { counted, paced, rateOf, timed } from './wording.ts'

const rowsPerSelect = 1_000
const selectsAtOnce = 8

/** Counts the rows that came back as they were written. */
export const readRows: Act = {
  name: 'read',
  title: 'every row is read back through the router, and compared',
  async run(stage, say) {
    const strong = await readAll(stage, 'strong', say)
    const caughtUpMs = await awaitReplay(stage)
    const eventual = await readAll(stage, 'eventual', say)
    const failures = [...strong.failures, ...eventual.failures]
    if (strong.fromReplicas > 0)
      failures.push(`${counted(strong.fromReplicas)} strong reads came from replicas`)
    if (stage.replicas > 0 && eventual.fromReplicas === 0)
      failures.push('no eventual read came from a replica')
    return {
      figures: {
        rows_read_back: Math.min(strong.same, eventual.same),
        reads_strong: strong.same,
        reads_eventual: eventual.same,
        reads_eventual_from_replicas: eventual.fromReplicas,
        read_rows_per_s: { strong: strong.perSecond, eventual: eventual.perSecond },
      },
      lines: [
        `strong, from the primaries: ${counted(strong.same)} rows ${paced(strong.same, strong.tookMs, 'rows')}`,
        `eventual: ${counted(eventual.same)} rows ${paced(eventual.same, eventual.tookMs, 'rows')}, ` +
          (stage.replicas === 0
            ? 'from the primaries, since there are no replicas'
            : `${counted(eventual.fromReplicas)} of them from replicas, which had replayed all after ${timed(caughtUpMs)}`),
      ],
      failures,
    }
  },
}

interface Reading {
  /** Rows that came back as they were written. */
  readonly same: number
  readonly fromReplicas: number
  readonly tookMs: number
  readonly perSecond: number
  readonly failures: readonly string[]
}

async function readAll(
  stage: Stage,
  consistency: Consistency,
  say: (text: string) => void,
): Promise<Reading> {
  const { clock, dataSets, keyspace, router, signal } = stage
  const map = await stage.map()
  const replicas = new Set(
    [...map.shards.values()]
      .flatMap(({ nodes }) => nodes.filter(({ role }) => role !== 'primary'))
      .map(({ id }) => String(id)),
  )
  const total = dataSets.reduce((sum, { rows }) => sum + rows.length, 0)
  const progress = progressOf(stage, total, (done) => {
    say(`${consistency}, ${counted(done)} of ${counted(total)} rows`)
  })
  const begunMs = clock.monotonic()
  const batches = batchesOf(dataSets, map, rowsPerSelect)
  let [same, fromReplicas] = [0, 0]
  const failures = await inLanes(batches, selectsAtOnce, signal, async (batch) => {
    const { dataSet, rows } = batch
    const answer = await router.execute({
      shard_key: rows[0][0],
      query: selectManyText(dataSet),
      params: [rows.map(([key]) => key)],
      consistency,
      options: { keyspace, row_format: 'array' },
    })
    const found = sameRows(batch, answer.rows)
    same += found
    if (replicas.has(answer.node)) fromReplicas += found
    progress(same)
  })
  const tookMs = clock.monotonic() - begunMs
  const lost = total - same
  const unlike = `${consistency}: ${counted(lost)} rows did not come back as they were written`
  return {
    same,
    fromReplicas,
    tookMs,
    perSecond: rateOf(same, tookMs),
    failures: lost === 0 ? failures : [unlike, ...failures],
  }
}

/** How many rows of the batch are among the rows found, each once. */
function sameRows({ rows }: Batch, found: readonly unknown[]): number {
  const byKey = new Map(found.map((row) => [Array.isArray(row) ? (row as unknown[])[0] : undefined, row]))
  if (found.length !== byKey.size) return 0
  return rows.filter((row) => isSameRow(byKey.get(row[0]), row)).length
}
