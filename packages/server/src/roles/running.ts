// Which local cluster runs on a data directory: its state file, believed only while the process that wrote it lives.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { identifyProcess, postgresProcessesOf } from '../agent/mod.ts'
import { readClusterState, type ClusterState } from '../runtime/mod.ts'

/** The running cluster; null when none runs, whatever a crash left behind. */
export async function liveCluster(dataDir: string): Promise<ClusterState | null> {
  const state = readClusterState(dataDir)
  if (state === null) return null
  return (await isStillRunning(state)) ? state : null
}

/** True while the process of the state file lives: the same pid, started at the same moment. */
export async function isStillRunning(state: ClusterState): Promise<boolean> {
  const found = await identifyProcess(state.pid)
  return found !== null && (state.processStarted === undefined || state.processStarted === found.started)
}

/** Pids of Postgres processes that work in the data directory. */
export async function serverProcesses(dataDir: string): Promise<readonly number[]> {
  const folder = join(dataDir, 'servers')
  const names = await readdir(folder).catch(() => [])
  const found = await Promise.all(names.map((name) => postgresProcessesOf(join(folder, name, 'data'))))
  return found.flat()
}
