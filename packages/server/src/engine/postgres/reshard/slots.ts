// The publication and the slot of a source: made where they are missing, looked at, dropped with whoever reads them.
import { FleetError, type Clock } from '@fleetshard/core'
import { exec } from '@fleetshard/routing/wire'
import type { MovedTable, SourceNames } from '../../reshard-engine.ts'
import type { NodeTarget } from '../../shard-engine.ts'
import { quoteIdentifier } from '../errors.ts'
import { quoteTableName } from '../names.ts'
import { connectReplication } from '../replication/stream.ts'
import { withSession, type Session } from '../session.ts'

interface SlotRow {
  readonly active_pid: number | null
  readonly wal_status: string | null
}

/** How long an ended reader gets to let the slot go. */
const readerEndMsMax = 10_000
const readerPauseMs = 20

/** See the port. Creating a slot waits for every transaction that is open. */
export async function makeSlot(
  parts: { readonly clock: Clock; readonly target: NodeTarget; readonly signal: AbortSignal },
  names: SourceNames,
  tables: readonly MovedTable[],
): Promise<void> {
  const { clock, target, signal } = parts
  const found = await withSession({ clock, target, bounds: { signal } }, async (session) => {
    await makePublication(session, names.publication, tables)
    return findSlot(session, names.slot)
  })
  if (found !== null) return
  const connection = await connectReplication(target, clock, signal)
  try {
    const slot = quoteIdentifier(names.slot)
    await exec(connection, `CREATE_REPLICATION_SLOT ${slot} LOGICAL pgoutput NOEXPORT_SNAPSHOT`, signal)
  } finally {
    connection.destroy(new FleetError('canceled', 'the slot is made'))
  }
}

async function makePublication(session: Session, name: string, tables: readonly MovedTable[]): Promise<void> {
  const rows = await session.query('select from pg_publication where pubname = $1', [name])
  if (rows.length > 0) return
  const list = tables.map((table) => quoteTableName(table.name)).join(', ')
  await session.query(`create publication ${quoteIdentifier(name)} for table ${list}`)
}

async function findSlot(session: Session, slot: string): Promise<SlotRow | null> {
  const [row] = await session.query<SlotRow>(
    'select active_pid, wal_status from pg_replication_slots where slot_name = $1',
    [slot],
  )
  return row ?? null
}

/** See the port. */
export async function slotState(session: Session, slot: string): Promise<'usable' | 'lost' | null> {
  const row = await findSlot(session, slot)
  if (row === null) return null
  return row.wal_status === 'lost' ? 'lost' : 'usable'
}

/** Ends whoever reads the slot; a worker that lost its claim may still be at it. */
export async function endReader(session: Session, clock: Clock, slot: string): Promise<void> {
  const deadline = clock.monotonic() + readerEndMsMax
  for (;;) {
    const row = await findSlot(session, slot)
    if (row?.active_pid === null || row === null) return
    if (clock.monotonic() > deadline) {
      throw new FleetError('shard_unavailable', `the reader of the slot ${slot} does not end`)
    }
    await session.query('select pg_terminate_backend($1)', [row.active_pid])
    await clock.sleep(readerPauseMs)
  }
}

/** See the port. */
export async function dropSlot(session: Session, clock: Clock, names: SourceNames): Promise<void> {
  await endReader(session, clock, names.slot)
  await session.query(
    'select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1',
    [names.slot],
  )
  await session.query(`drop publication if exists ${quoteIdentifier(names.publication)}`)
}
