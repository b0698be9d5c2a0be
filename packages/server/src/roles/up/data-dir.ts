// The data directory before the agent takes it, and the log in it: one file, so that the terminal stays free.
import { chmodSync, closeSync, mkdirSync, openSync, renameSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { FleetError } from '@fleetshard/core'
import { runningCluster } from '../../runtime/mod.ts'

/** A log that has grown beyond this is put aside at the next start; one older file is kept. */
const logBytesMax = 16 * 1024 * 1024

/** Where the processes of the cluster log to. */
export function logFileOf(dataDir: string): string {
  return join(dataDir, 'fleetshard.log')
}

/**
 * Makes the directory where it is missing, and sees that the log can be written. To be called before it is opened.
 * @throws FleetError `data_dir_unusable`
 */
export function prepareDataDir(dataDir: string): void {
  try {
    makePassable(dataDir)
    // The log of a cluster that runs is its own.
    if (runningCluster(dataDir) === null) boundLogFile(dataDir)
    closeSync(openSync(logFileOf(dataDir), 'a', 0o600))
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    throw new FleetError('data_dir_unusable', `the data directory ${dataDir} cannot be written: ${reason}`, {
      hint: 'choose another with --data-dir',
      cause: error,
    })
  }
}

/** The account that runs Postgres must be able to pass what is made here, whatever the umask. */
function makePassable(dataDir: string): void {
  const first = mkdirSync(dataDir, { recursive: true })
  if (first === undefined) return
  for (let path = dataDir; path.length >= first.length; path = dirname(path)) chmodSync(path, 0o755)
}

function boundLogFile(dataDir: string): void {
  const path = logFileOf(dataDir)
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (size > logBytesMax) renameSync(path, `${path}.1`)
}
