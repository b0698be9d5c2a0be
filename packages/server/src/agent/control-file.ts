// The few fields of pg_control that tell how a server ended. Their places have been the same from PostgreSQL 13 on; a
// file of another layout is not read.
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Control } from '../agent-api/mod.ts'

const bytesWanted = 64
/** `pg_control_version` of 13 (1300) and everything after it that keeps the layout. */
const versionMin = 1300
const versionMax = 1999
/** DB_SHUTDOWNED and DB_SHUTDOWNED_IN_RECOVERY. */
const cleanStates: readonly number[] = [1, 2]

/** Null when the file is missing or of a layout that is not known. */
export async function readControl(pgData: string): Promise<Control | null> {
  const bytes = await readHead(join(pgData, 'global', 'pg_control'))
  if (bytes === null) return null
  const version = bytes.readUInt32LE(8)
  if (version < versionMin || version > versionMax) return null
  const position = bytes.readBigUInt64LE(32)
  return {
    clean: cleanStates.includes(bytes.readUInt32LE(16)),
    checkpoint_lsn: lsnText(position),
    timeline: bytes.readUInt32LE(48),
  }
}

async function readHead(path: string): Promise<Buffer | null> {
  try {
    await using file = await open(path, 'r')
    const bytes = Buffer.alloc(bytesWanted)
    const { bytesRead } = await file.read(bytes, 0, bytesWanted, 0)
    return bytesRead === bytesWanted ? bytes : null
  } catch {
    return null
  }
}

const lsnText = (position: bigint): string =>
  `${(position >> 32n).toString(16).toUpperCase()}/${(position & 0xffff_ffffn).toString(16).toUpperCase()}`
