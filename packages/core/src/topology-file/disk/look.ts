// Looking at a file without reading it, and reading it whole.
import { readFile, stat } from 'node:fs/promises'
import { FleetError } from '../../errors/fleet-error.ts'
import type { FileVersion } from '../versions.ts'

/** Largest file that is read, in bytes. */
const fileBytesMax = 8 * 1024 * 1024

/** A text that differs whenever the file was replaced or written to. Never rejects. */
export async function lookAt(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true })
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
  } catch (error) {
    return reasonOf(error)
  }
}

/** Reads the file. @throws FleetError `invalid_config` */
export async function readVersion(path: string): Promise<FileVersion> {
  try {
    const { size, mtimeMs } = await stat(path)
    if (size > fileBytesMax) throw unusable(path, `it has more than ${String(fileBytesMax)} bytes`)
    const bytes = await readFile(path)
    return { path, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), changedAtMs: mtimeMs }
  } catch (error) {
    if (error instanceof FleetError) throw error
    throw unusable(path, error instanceof TypeError ? 'it is not UTF-8' : reasonOf(error))
  }
}

function unusable(path: string, why: string): FleetError {
  return new FleetError('invalid_config', `the topology file ${path} cannot be read: ${why}`, {
    hint: 'check the path, and that the user of this process may read the file',
  })
}

function reasonOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}
