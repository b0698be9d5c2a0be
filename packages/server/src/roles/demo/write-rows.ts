// Act: all rows are written through the router, in multi-row INSERTs of rows that one shard owns. The router looks at
// every key of them by itself and would refuse a batch that concerns two shards.
import type { Act } from './act.ts'
import { batchesOf, inLanes, progressOf } from './batches.ts'
import { insertText } from './data-set.ts'
import { counted, paced, rateOf } from './wording.ts'

const rowsPerInsert = 250
const insertsAtOnce = 8

/** Counts the rows whose write the router acknowledged. */
export const writeRows: Act = {
  name: 'write',
  title: 'every row is written through the router',
  async run(stage, say) {
    const { clock, dataSets, keyspace, router, signal } = stage
    const total = dataSets.reduce((sum, { rows }) => sum + rows.length, 0)
    const progress = progressOf(stage, total, (done) => {
      say(`${counted(done)} of ${counted(total)} rows`)
    })
    const batches = batchesOf(dataSets, await stage.map(), rowsPerInsert)
    const begunMs = clock.monotonic()
    let written = 0
    const failures = await inLanes(batches, insertsAtOnce, signal, async ({ dataSet, rows }) => {
      const query = insertText(dataSet, rows.length)
      const answer = await router.execute({
        shard_key: rows[0][0],
        query,
        params: rows.flat(),
        options: { keyspace },
      })
      written += answer.row_count
      progress(written)
    })
    const tookMs = clock.monotonic() - begunMs
    const tables = dataSets.map(({ table, rows }) => `${counted(rows.length)} ${table}`).join(' and ')
    return {
      figures: { rows_written: written, write_rows_per_s: rateOf(written, tookMs) },
      lines: [`${tables} ${paced(written, tookMs, 'rows')}, ${String(insertsAtOnce)} statements at once`],
      failures:
        written === total ? failures : [`${counted(total - written)} rows were not written`, ...failures],
    }
  },
}
