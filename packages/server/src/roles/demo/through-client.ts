// Act: the same small program with the TypeScript client, through the router and straight to the shards' servers. Both
// ways must give the same answers, and leave every row as it was.
import { connect, isFleetShardError, type FleetShard } from '@fleetshard/client'
import { FleetError, type Clock } from '@fleetshard/core'
import type { Act, ActOutcome, Stage } from './act.ts'
import { inLanes } from './batches.ts'
import { insertText, isSameRow, selectOneText, updateOneText, type DataSet, type Row } from './data-set.ts'
import { counted, paced, quantile, rateOf, timed } from './wording.ts'

const modes = ['http', 'direct'] as const
type Mode = (typeof modes)[number]

const readsMax = 2_000
const readsAtOnce = 64
const changed = 'changed for the time of a transaction'

/** Runs the program both ways and compares what came of it. */
export const throughClient: Act = {
  name: 'client',
  title: 'one program with the TypeScript client, over HTTP and straight to the shards',
  async run(stage, say) {
    const dataSet = stage.dataSets.find(({ table }) => table === 'users')
    if (dataSet === undefined) return { figures: {}, lines: [], failures: ['there is no table users'] }
    try {
      const http = await runIn('http', stage, dataSet, say)
      const direct = await runIn('direct', stage, dataSet, say)
      return outcomeOf(dataSet, { http, direct })
    } catch (error) {
      if (!isFleetShardError(error)) throw error
      throw new FleetError(error.code, error.message, { hint: error.hint, cause: error })
    }
  },
}

/** What the program found; the same in both modes. */
interface Answers {
  readonly mode: string
  /** Rows that came back as they were written, each by a statement of its own. */
  readonly reads: number
  /** Of all shards, in one stream. */
  readonly streamed_rows: number
  /** The value inside of a transaction that changed it, and after it was rolled back. */
  readonly in_transaction: string
  readonly rolled_back: boolean
  /** SQLSTATE and outcome of a row that exists already. */
  readonly refused: string
}

interface Run {
  readonly answers: Answers
  readonly readsMs: number
  readonly p50Ms: number
  readonly failures: readonly string[]
}

async function runIn(
  mode: Mode,
  { clock, keyspace, routerUrl, tls, token, signal }: Stage,
  dataSet: DataSet,
  say: (text: string) => void,
): Promise<Run> {
  say(`${mode} mode`)
  await using db = await connect({
    url: routerUrl,
    ...(tls === null ? {} : { tls }),
    keyspace,
    mode,
    fallback: false,
    ...(token === null ? {} : { token }),
  })
  const rows = dataSet.rows.slice(0, readsMax)
  const read = await readEach(db, { dataSet, rows, clock, signal })
  let streamed = 0
  const everything = `SELECT ${dataSet.columns.join(', ')} FROM ${dataSet.table}`
  for await (const _row of db.all({ signal }).stream(everything)) streamed += 1
  const [row] = dataSet.rows
  if (row === undefined) throw new Error('a data set has rows')
  const answers = {
    mode: db.mode,
    reads: read.same,
    streamed_rows: streamed,
    ...(await changeAndRollBack(db, dataSet, row)),
    refused: await refusalOf(db, dataSet, row),
  }
  return { answers, ...read }
}

interface Reading {
  readonly dataSet: DataSet
  readonly rows: readonly Row[]
  readonly clock: Clock
  readonly signal: AbortSignal
}

/** One statement for each row, many at once. */
async function readEach(
  db: FleetShard,
  { dataSet, rows, clock, signal }: Reading,
): Promise<Pick<Run, 'readsMs' | 'p50Ms' | 'failures'> & { readonly same: number }> {
  const text = selectOneText(dataSet)
  const tookMs: number[] = []
  let same = 0
  const begunMs = clock.monotonic()
  const failures = await inLanes(rows, readsAtOnce, signal, async (row) => {
    const sentMs = clock.monotonic()
    const result = await db.shard(row[0]).query(text, [row[0]], { signal })
    tookMs.push(clock.monotonic() - sentMs)
    if (isSameRow(valuesOf(dataSet, result.rows[0]), row)) same += 1
  })
  const readsMs = clock.monotonic() - begunMs
  return {
    same,
    readsMs,
    p50Ms: quantile(
      tookMs.sort((a, b) => a - b),
      0.5,
    ),
    failures,
  }
}

/** Thrown to roll a transaction back. */
class NotMeant extends Error {}

async function changeAndRollBack(
  db: FleetShard,
  dataSet: DataSet,
  row: Row,
): Promise<Pick<Answers, 'in_transaction' | 'rolled_back'>> {
  const [key] = row
  const text = selectOneText(dataSet)
  let inside: unknown = null
  // The demo's tables have keys of two types, so that a key without a statement tells no shard; a read does.
  const { shardId } = await db.query(text, [key])
  const shard = db.shards().find(({ id }) => id === shardId)
  if (shard === undefined)
    throw new FleetError('stale_map', 'the client does not know the shard it has read from')
  try {
    await shard.transaction(async (tx) => {
      await tx.query(updateOneText(dataSet), [key, changed])
      inside = valuesOf(dataSet, (await tx.query(text, [key])).rows[0]).at(-1)
      throw new NotMeant()
    })
  } catch (error) {
    if (!(error instanceof NotMeant)) throw error
  }
  const after = await shard.query(text, [key])
  return { in_transaction: String(inside), rolled_back: isSameRow(valuesOf(dataSet, after.rows[0]), row) }
}

async function refusalOf(db: FleetShard, dataSet: DataSet, row: Row): Promise<string> {
  try {
    await db.shard(row[0]).query(insertText(dataSet, 1), row)
    return 'not refused'
  } catch (error) {
    if (!isFleetShardError(error)) throw error
    return `${error.sqlstate} ${error.outcome}`
  }
}

const valuesOf = ({ columns }: DataSet, row: Readonly<Record<string, unknown>> | undefined): unknown[] =>
  row === undefined ? [] : columns.map((column) => row[column])

function outcomeOf(dataSet: DataSet, runs: Readonly<Record<Mode, Run>>): ActOutcome {
  const failures = modes.flatMap((mode) => failuresOf(mode, dataSet, runs[mode]))
  const comparable = modes.map((mode) => JSON.stringify({ ...runs[mode].answers, mode: '' }))
  const same = comparable[0] === comparable[1]
  if (!same) failures.push('the client gives other answers over HTTP than straight to the shards')
  const figures = ({ answers, readsMs, p50Ms }: Run) => ({
    ...answers,
    reads_per_s: rateOf(answers.reads, readsMs),
    read_p50_ms: Math.round(p50Ms * 1_000) / 1_000,
  })
  return {
    figures: { client: { http: figures(runs.http), direct: figures(runs.direct), same } },
    lines: [
      ...modes.map((mode) => {
        const { answers, readsMs, p50Ms } = runs[mode]
        const reads = `${counted(answers.reads)} reads ${paced(answers.reads, readsMs, 'reads')}`
        return `${mode}: ${reads}, half of them within ${timed(p50Ms)}, ${String(readsAtOnce)} at once`
      }),
      `${counted(runs.http.answers.streamed_rows)} rows streamed from all shards, a transaction rolled back, a second row of ` +
        `one key refused (${runs.http.answers.refused}): ${same ? 'the same both ways' : 'NOT the same both ways'}`,
    ],
    failures,
  }
}

function failuresOf(mode: Mode, { rows }: DataSet, { answers, failures }: Run): string[] {
  const found = failures.map((failure) => `${mode}: ${failure}`)
  const expected: Answers = {
    mode,
    reads: Math.min(rows.length, readsMax),
    streamed_rows: rows.length,
    in_transaction: changed,
    rolled_back: true,
    refused: '23505 aborted',
  }
  if (JSON.stringify(answers) !== JSON.stringify(expected))
    found.push(`${mode}: the client gave ${JSON.stringify(answers)} in place of ${JSON.stringify(expected)}`)
  return found
}
