// Statements that never stop for long, while an act does something to the cluster: each reads or writes one row, and must be
// answered with the row that was written.
import { FleetError, toFleetError, type Consistency } from '@fleetshard/core'
import type { Stage } from './act.ts'
import { isSameRow, selectOneText, updateOneText, type DataSet } from './data-set.ts'

/** At once, in this process. */
export const clients = 16
/** One statement of so many is a write. */
const writeEvery = 8
/** A prime, so that clients walk over all rows in no order. */
const stride = 7_919
const pollMs = 100
const shownErrorsMax = 3

/** Statements answered. */
export interface Counts {
  readonly queries: number
  readonly writes: number
}

/** Clients that never stop for long, and what became of their statements. */
export class Traffic {
  readonly #stage: Stage
  readonly #end = new AbortController()
  readonly #clients: readonly Promise<void>[]
  #queries = 0
  #writes = 0
  readonly errors: string[] = []
  #errorCount = 0
  latenciesMs: number[] = []

  constructor(stage: Stage) {
    this.#stage = stage
    this.#clients = Array.from({ length: clients }, (_, client) => this.#run(client))
  }

  get errorCount(): number {
    return this.#errorCount
  }

  counts(): Counts {
    return { queries: this.#queries, writes: this.#writes }
  }

  /** Counts from here on. */
  begin(): void {
    this.#queries = 0
    this.#writes = 0
    this.latenciesMs = []
  }

  /** Waits until that many statements have been answered. */
  async more(count: number): Promise<void> {
    const { clock, signal } = this.#stage
    while (this.#queries < count) await clock.sleep(pollMs, signal)
  }

  async end(): Promise<void> {
    this.#end.abort()
    await Promise.all(this.#clients)
  }

  async #run(client: number): Promise<void> {
    const { clock, dataSets, signal } = this.#stage
    for (let turn = client; !this.#end.signal.aborted && !signal.aborted; turn += clients) {
      const dataSet = dataSets[Math.floor(turn / clients) % dataSets.length]
      if (dataSet === undefined) return
      const begunMs = clock.monotonic()
      try {
        if (Math.floor(turn / clients) % writeEvery === 0) await this.#write(dataSet, turn)
        else await this.#read(dataSet, turn)
        this.latenciesMs.push(clock.monotonic() - begunMs)
      } catch (error) {
        if (signal.aborted) return
        this.#errorCount += 1
        if (this.errors.length < shownErrorsMax) this.errors.push(toFleetError(error).message)
        // A router that fails at once must not be asked in a tight loop.
        await clock.sleep(pollMs)
      }
      this.#queries += 1
    }
  }

  async #read(dataSet: DataSet, turn: number): Promise<void> {
    const row = rowOf(dataSet, turn)
    const consistency: Consistency = turn % 2 === 0 ? 'strong' : 'eventual'
    const { router, keyspace } = this.#stage
    const { rows } = await router.execute({
      shard_key: row[0],
      query: selectOneText(dataSet),
      params: [row[0]],
      consistency,
      options: { keyspace, row_format: 'array' },
    })
    if (rows.length !== 1 || !isSameRow(rows[0], row))
      throw new FleetError(
        'internal',
        `the row of ${row[0]} in ${dataSet.table} came back otherwise than it was written`,
      )
  }

  /** Writes what is there already, so that every reader knows what to expect. */
  async #write(dataSet: DataSet, turn: number): Promise<void> {
    const row = rowOf(dataSet, turn)
    const { router, keyspace } = this.#stage
    const params = [row[0], row.at(-1)]
    const answer = await router.execute({
      shard_key: row[0],
      query: updateOneText(dataSet),
      params,
      options: { keyspace },
    })
    if (answer.row_count !== 1)
      throw new FleetError('internal', `the row of ${row[0]} in ${dataSet.table} was not there to be written`)
    this.#writes += 1
  }
}

function rowOf({ rows }: DataSet, turn: number): DataSet['rows'][number] {
  const row = rows[(turn * stride) % rows.length]
  if (row === undefined) throw new FleetError('internal', 'the table has no rows')
  return row
}
