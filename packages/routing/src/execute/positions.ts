// Positions in a shard's log: asked from a server, one short row, and read from its text.
import type { SessionPosition } from '@fleetshard/core'
import { DataRowReader } from '../pgwire/mod.ts'
import type { Session } from './session.ts'
import { StatementRun, type RowsConsumer } from './statement-run.ts'

/** Where the log of a primary ends, and its timeline. What was committed before lies before it. */
const primarySql = `select pg_catalog.pg_current_wal_insert_lsn(),
  pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8)`

/**
 * What a replica has replayed. Its control file tells the timeline late, its receiver at once, but not to everybody.
 * A server that is no replica any more tells no position.
 */
const replicaSql = `select case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() end,
  pg_catalog.to_hex(greatest((select timeline_id from pg_catalog.pg_control_checkpoint()),
    (select received_tli from pg_catalog.pg_stat_wal_receiver))),
  (select term from fleetshard.shard_state)`

/** Where a replica is. */
export interface ReplicaPosition extends SessionPosition {
  /** The term that its data belong to. */
  readonly term: number
}

/** The end of a primary's log; null when it does not tell. */
export async function askPrimary(session: Session): Promise<SessionPosition | null> {
  return positionOf(await askRow(session, primarySql))
}

/** What a replica has replayed; null when it does not tell. */
export async function askReplica(session: Session): Promise<ReplicaPosition | null> {
  const row = await askRow(session, replicaSql)
  const position = positionOf(row)
  return position === null ? null : { ...position, term: Number(row[2] ?? 0) }
}

/** Asks for the position behind a write, so that the answer comes with the write's own. */
export class PositionBehind {
  readonly #session: Session
  #answer: Promise<SessionPosition | null> = Promise.resolve(null)

  constructor(session: Session) {
    this.#session = session
  }

  /** To be called right after the write was sent. `isOver` tells whether the write has been answered. */
  readonly ask = (isOver: () => boolean): void => {
    // A write that was sent a second time comes after the question.
    this.#answer = askPrimary(this.#session).then((position) => (isOver() ? position : null))
  }

  /** Null when it is not known where the write lies. The session is free then. */
  get answer(): Promise<SessionPosition | null> {
    return this.#answer
  }
}

function positionOf([lsn, timeline]: readonly (string | null)[]): SessionPosition | null {
  const [, high, low] = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/.exec(lsn ?? '') ?? []
  if (high === undefined || low === undefined || timeline === undefined || timeline === null) return null
  const number = Number.parseInt(timeline, 16)
  if (!Number.isSafeInteger(number) || number < 1) return null
  return { timeline: number, lsn: (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`) }
}

/** The values of the one row of a statement; none when it fails in whatever way. */
function askRow(session: Session, text: string): Promise<readonly (string | null)[]> {
  const reader = new DataRowReader()
  let values: (string | null)[] = []
  const consumer: RowsConsumer = {
    fields: () => undefined,
    row(buf, start, end) {
      reader.open(buf, start, end)
      values = []
      while (reader.next()) values.push(reader.text())
    },
    reset: () => undefined,
  }
  return new Promise((resolve) => {
    const run = new StatementRun({
      consumer,
      commitsAtSync: true,
      refusing: () => undefined,
      ended: (end) => {
        resolve(end.kind === 'completed' ? values : [])
      },
    })
    try {
      session.prepared.execute({ text, params: [] }, run)
    } catch {
      // The connection takes no more for the time being.
      resolve([])
    }
  })
}
