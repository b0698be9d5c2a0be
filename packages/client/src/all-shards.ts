// A statement over every shard that owns keys: its parts run some at a time, and their rows are put together as they
// come. Exact only for statements whose rows may simply be put together; the shards' side refuses the others.
import { FleetError, type ShardMap } from '@fleetshard/core'
import type { Backend, Result, Row, RowBatch, Statement } from './statement.ts'
import { queryable, type Queryable, type StatementRunner } from './handles.ts'
import type { CallOptions, Column } from './statement.ts'

/** Every shard that owns keys. Rows come in no order. */
export interface AllShards extends Queryable {
  /** The same with other options for its calls. */
  readonly with: (options: CallOptions) => AllShards
}

/** What the handle is made of. */
export interface AllShardsParts {
  readonly backend: Backend
  /** Shards that are asked at a time. */
  readonly shardsAtOnce: number
  /** Rows of a result that is not streamed. */
  readonly rowsMax: number
}

/** How often a statement begins anew because the map changed before the first row. */
const attemptsMax = 3

/** The handle. */
export function allShards(parts: AllShardsParts, options: CallOptions): AllShards {
  const runner: StatementRunner = {
    execute: (statement) => collect(parts, statement),
    stream: (statement) => streamAll(parts, statement),
  }
  return {
    ...queryable({ runner, target: { kind: 'planned' }, options }),
    with: (more) => allShards(parts, { ...options, ...more }),
  }
}

async function collect(parts: AllShardsParts, statement: Statement): Promise<Result> {
  const rows: Row[] = []
  let columns: readonly Column[] = []
  let epoch = 0
  for await (const batch of streamAll(parts, statement)) {
    for (const row of batch.rows) rows.push(row)
    ;({ columns, epoch } = batch)
    if (rows.length > parts.rowsMax) {
      throw new FleetError('result_too_large', `the result has more than ${String(parts.rowsMax)} rows`, {
        hint: 'stream the rows, or raise rowsMax',
      })
    }
  }
  return { rows, rowCount: rows.length, replayed: false, columns, shardId: '', node: '', epoch }
}

/** Begins anew while the map changes before a row was handed over; afterwards a change is an error. */
async function* streamAll(
  { backend, shardsAtOnce }: AllShardsParts,
  statement: Statement,
): AsyncGenerator<RowBatch<Row>, void, void> {
  for (let attempt = 1; ; attempt += 1) {
    const map = backend.map()
    let handedOver = false
    try {
      for await (const batch of merged(backend, { map, statement, shardsAtOnce })) {
        handedOver ||= batch.rows.length > 0
        yield batch
      }
      return
    } catch (error) {
      const changed = error instanceof MapChanged
      if (!changed) throw error
      if (handedOver || attempt === attemptsMax) throw error.asFleetError()
      await backend.newerMap(map)
    }
  }
}

/** The parts were placed by another map than they ran under: together they may lack rows, or have some twice. */
class MapChanged extends Error {
  override readonly name = 'MapChanged'

  asFleetError(): FleetError {
    return new FleetError('stale_map', 'the shard map changed while the shards were read', {
      hint: 'read again',
    })
  }
}

interface MergedParts {
  readonly map: ShardMap
  readonly statement: Statement
  readonly shardsAtOnce: number
}

type Part = AsyncGenerator<RowBatch<Row>, void, void>

/** The batches of all parts as they come. When one fails, or the reader leaves, all others are given up. */
async function* merged(backend: Backend, { map, statement, shardsAtOnce }: MergedParts): Part {
  if (map.owners.length === 0) {
    throw new FleetError('no_shard', `keyspace ${map.snapshot.keyspace.name} has no active shard`)
  }
  const waiting = map.owners.map(
    ({ id }) => ({ ...statement, target: { kind: 'shard', id, part: true } }) as const,
  )
  const pending = new Map<Part, Promise<{ part: Part; step: IteratorResult<RowBatch<Row>, void> }>>()
  const ask = (part: Part): void => {
    const step = part.next().then((result) => ({ part, step: result }))
    // A failure counts when its turn comes; until then it must not be taken for one that nobody looks at.
    step.catch(() => undefined)
    pending.set(part, step)
  }
  const begin = (): void => {
    const next = waiting.shift()
    if (next !== undefined) ask(backend.stream(next))
  }
  try {
    while (pending.size < shardsAtOnce && waiting.length > 0) begin()
    while (pending.size > 0) {
      const { part, step } = await Promise.race(pending.values())
      pending.delete(part)
      if (step.done === true) {
        begin()
        continue
      }
      if (step.value.epoch !== map.epoch) {
        pending.set(part, Promise.resolve({ part, step }))
        throw new MapChanged()
      }
      yield step.value
      ask(part)
    }
  } finally {
    await Promise.allSettled([...pending.keys()].map((part) => part.return()))
  }
}
