// What keeps a copy from being more than its source can bear: before each unit the source is looked at, and the copy
// waits while the log that the slot holds back grows too large, or the stream or a replica is too far behind.
import { FleetError } from '@fleetshard/core'
import type { SourceFigures } from '../../engine/mod.ts'

const mebibyte = 2 ** 20

/** Bounds beyond which a copy waits, and one beyond which it is given up. */
export interface ThrottleBounds {
  /** What the slot may hold back. */
  readonly retainedWalBytesMax: number
  /** How far the stream may be behind. */
  readonly lagBytesMax: number
  /** How far a physical replica may be behind. */
  readonly replicaLagBytesMax: number
  /** Of what the server may still keep for slots, where it has a bound (`max_slot_wal_keep_size`). */
  readonly walBytesLeftMin: number
  /** Below this the job is given up, and its slot dropped, before the server invalidates it or its disk is full. */
  readonly walBytesLeftFloor: number
  /** What the slot of a way back may hold back on a target, before the way back is given up. */
  readonly backWalBytesMax: number
}

/** In force where nothing else is said. */
export const throttleBoundsDefault: ThrottleBounds = {
  retainedWalBytesMax: 4_096 * mebibyte,
  lagBytesMax: 1_024 * mebibyte,
  replicaLagBytesMax: 1_024 * mebibyte,
  walBytesLeftMin: 256 * mebibyte,
  walBytesLeftFloor: 64 * mebibyte,
  backWalBytesMax: 4_096 * mebibyte,
}

/**
 * Why a copy has to wait; null when it has not to.
 * @throws FleetError `reshard_refused` when the job must be given up for the source's sake
 */
export function throttleReason(figures: SourceFigures, bounds: ThrottleBounds): string | null {
  const { retainedWalBytes, lagBytes, replicaLagBytes, walBytesLeft } = figures
  if (walBytesLeft !== null && walBytesLeft < bounds.walBytesLeftFloor) {
    throw new FleetError(
      'reshard_refused',
      `the source may keep only ${mebibytes(walBytesLeft)} more of log for replication slots`,
      { hint: 'raise max_slot_wal_keep_size, or move when less is written, and start the move again' },
    )
  }
  if (walBytesLeft !== null && walBytesLeft < bounds.walBytesLeftMin) {
    return `disk: the source may keep only ${mebibytes(walBytesLeft)} more of log for replication slots`
  }
  if (retainedWalBytes > bounds.retainedWalBytesMax) {
    return `retained WAL: the slot holds back ${mebibytes(retainedWalBytes)} of log`
  }
  if (lagBytes > bounds.lagBytesMax) return `lag: the targets are ${mebibytes(lagBytes)} behind`
  if (replicaLagBytes !== null && replicaLagBytes > bounds.replicaLagBytesMax) {
    return `replica lag: a replica of the source is ${mebibytes(replicaLagBytes)} behind`
  }
  return null
}

const mebibytes = (bytes: number): string => `${String(Math.round(bytes / mebibyte))} MiB`

/** Why a way back has to be given up for the sake of the shard that it comes from; null when it has not. */
export function backRefusal(figures: SourceFigures, bounds: ThrottleBounds): string | null {
  const { retainedWalBytes, walBytesLeft } = figures
  if (retainedWalBytes > bounds.backWalBytesMax)
    return `its slot holds back ${mebibytes(retainedWalBytes)} of log`
  if (walBytesLeft === null || walBytesLeft >= bounds.walBytesLeftFloor) return null
  return `it may keep only ${mebibytes(walBytesLeft)} more of log for replication slots`
}
