// Transaction ids: pgoutput tells 32 bits of them, snapshots tell all 64.
import { FleetError } from '@fleetshard/core'

const span = 2n ** 32n

/**
 * The 64-bit id with those low bits that lies nearest to another one. Ids in use at one time span less than 2^31, so
 * that there is only one such.
 */
export function widenXid(low: number, near: bigint): bigint {
  const candidate = near - (near % span) + BigInt(low)
  if (candidate - near > span / 2n && candidate >= span) return candidate - span
  if (near - candidate > span / 2n) return candidate + span
  return candidate
}

/** `pg_snapshot`: which transactions, by their 64-bit ids, a snapshot has seen the end of. */
export interface XidSnapshot {
  /** Below, all have ended. */
  readonly xmin: bigint
  /** From here on, none has. */
  readonly xmax: bigint
  /** Between, those that were running. */
  readonly running: ReadonlySet<bigint>
}

/** Reads the text form `10:20:10,14,15`. @throws FleetError `corrupt_record` */
export function parseXidSnapshot(text: string): XidSnapshot {
  const match = /^(\d+):(\d+):((?:\d+(?:,\d+)*)?)$/.exec(text)
  const [, xmin, xmax, list] = match ?? []
  if (xmin === undefined || xmax === undefined || list === undefined) {
    throw new FleetError('corrupt_record', `${JSON.stringify(text.slice(0, 60))} is not a snapshot`)
  }
  return {
    xmin: BigInt(xmin),
    xmax: BigInt(xmax),
    running: new Set(list === '' ? [] : list.split(',').map(BigInt)),
  }
}

/** True when the snapshot has seen the end of that transaction. */
export function isVisible(snapshot: XidSnapshot, xid: bigint): boolean {
  if (xid < snapshot.xmin) return true
  return xid < snapshot.xmax && !snapshot.running.has(xid)
}
