// One running postmaster: started as our own child, or adopted from an agent that died. Starting, being ready,
// stopping with escalation. Knows nothing of roles, replicas or supervision.
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import { FleetError, type Clock } from '@fleetshard/core'
import type { StopMode } from '../agent-api/mod.ts'
import type { PostgresBinaries } from './binaries.ts'
import { readTextIfAny } from './files.ts'
import type { ServerLayout } from './layout.ts'
import { lastWords, logSize, readLogFrom } from './log-file.ts'
import { asUser, type ServerUser } from './os-user.ts'
import { isFrozen, isPidTaken, isPostgresOf, postgresProcessesOf, sendSignal } from './proc.ts'
import { pollUntil, settlesWithin } from './wait.ts'

/** Longest start: crash recovery of a busy server takes its time. */
export const startMsMax = 600_000
/** How long each way of stopping may take before the next harder one. */
export const stopMsMax = { smart: 30_000, fast: 15_000, immediate: 3_000, kill: 10_000 } as const
/** How long children of a dead postmaster get to end in order before they are killed. */
const orphanMsMax = 1_000
/** How often a server that is not our child is looked at. */
const adoptedPollMs = 200

/** How a postmaster ended. `code` and `signal` are unknown (null) for one that was not our child. */
export interface ExitReport {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A live postmaster. */
export interface PostgresProcess {
  readonly pid: number
  readonly adopted: boolean
  /** Resolves when it is gone; never rejects. */
  readonly exited: Promise<ExitReport>
}

/** What a start needs. */
export interface StartOptions {
  readonly binaries: PostgresBinaries
  readonly layout: ServerLayout
  readonly user: ServerUser
  readonly clock: Clock
  /** The server ends with this process (Linux with setpriv, from the main thread only). */
  readonly dieWithParent: boolean
  readonly signal?: AbortSignal | undefined
}

/** What is said about a data folder by its postmaster.pid. */
interface PidFile {
  readonly pid: number
  readonly port: number
  /** What it listens on first, as its settings have it. */
  readonly address: string
  /** `starting`, `ready`, `standby`, `stopping`, or empty before any of them. */
  readonly status: string
}

/** @returns null when there is no such file, or it is being written */
async function readPidFile(pgData: string): Promise<PidFile | null> {
  const lines = ((await readTextIfAny(`${pgData}/postmaster.pid`)) ?? '').split('\n')
  const pid = Number(lines[0])
  if (!Number.isSafeInteger(pid) || pid <= 0) return null
  return { pid, port: Number(lines[3]), address: lines[5] ?? '', status: (lines[7] ?? '').trim() }
}

/**
 * Starts the server and resolves when it takes connections (a replica: read-only ones). An abort or the deadline
 * stops it again at once.
 * @throws FleetError `data_dir_in_use`, `port_taken`, `postgres_failed`
 */
export async function startPostgres(options: StartOptions): Promise<PostgresProcess> {
  const { layout, clock } = options
  await clearOrphans(layout.pgData, clock)
  const logStart = await logSize(layout.logFile)
  const { pid, exited } = await spawnPostmaster(options)
  let ended: ExitReport | null = null
  void exited.then((report) => (ended = report))
  if (pid === undefined) throw startFailure(await readLogFrom(layout.logFile, logStart), layout)
  const started: PostgresProcess = { pid, adopted: false, exited }
  try {
    const outcome = await pollUntil(
      async () => (ended === null ? ((await isReady(layout.pgData, pid)) ? 'ready' : null) : 'ended'),
      { clock, timeoutMs: startMsMax, signal: options.signal },
    )
    if (outcome === 'ready') return started
    throw startFailure(await readLogFrom(layout.logFile, logStart), layout)
  } catch (error) {
    if (ended === null) await stopPostgres(started, { mode: 'immediate', pgData: layout.pgData, clock })
    throw error
  }
}

/** True when the server that runs on the data folder listens there: only its next start changes it. */
export async function listensOn(pgData: string, address: string): Promise<boolean> {
  return (await readPidFile(pgData))?.address === address
}

async function isReady(pgData: string, pid: number): Promise<boolean> {
  const file = await readPidFile(pgData)
  return file?.pid === pid && (file.status === 'ready' || file.status === 'standby')
}

/** Its end is listened to before anything is waited for: a server that fails at once would be missed. */
async function spawnPostmaster(
  options: StartOptions,
): Promise<{ readonly pid: number | undefined; readonly exited: Promise<ExitReport> }> {
  const { binaries, layout, user } = options
  const log = await open(layout.logFile, 'a', 0o640)
  try {
    const command = ['-D', layout.pgData, '-c', `config_file=${layout.configFile}`]
    const wrapper = options.dieWithParent ? deathSignal() : null
    const program = wrapper?.program ?? binaries.postgres
    const args = wrapper === null ? command : [...wrapper.args, binaries.postgres, ...command]
    // Detached: its own session, so that Ctrl-C at a terminal reaches the agent only, which stops in order.
    const child = spawn(program, args, {
      cwd: '/',
      env: {},
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      ...asUser(user),
    })
    return { pid: child.pid, exited: exitOf(child) }
  } finally {
    await log.close()
  }
}

/** The kernel sends the signal when the thread that spawned ends; hence never from a worker thread. */
function deathSignal(): { program: string; args: string[] } | null {
  if (!isMainThread || process.platform !== 'linux') return null
  const program = ['/usr/bin/setpriv', '/bin/setpriv'].find((path) => existsSync(path))
  return program === undefined ? null : { program, args: ['--pdeathsig', 'QUIT'] }
}

function exitOf(child: ChildProcess): Promise<ExitReport> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => {
      resolve({ code, signal })
    })
    child.once('error', () => {
      resolve({ code: null, signal: null })
    })
  })
}

function startFailure(log: string, layout: ServerLayout): FleetError {
  if (/lock file ".*postmaster\.pid" already exists/.test(log)) {
    return new FleetError('data_dir_in_use', `another Postgres runs on ${layout.pgData}`, {
      hint: 'stop it, or choose another --data-dir',
    })
  }
  // An address that is gone from this machine is found at no other port either.
  if (
    /could not (?:bind|create any TCP\/IP sockets)/.test(log) &&
    !/Cannot assign requested address/.test(log)
  ) {
    return new FleetError('port_taken', 'another process listens on the port of the server')
  }
  const words = lastWords(log)
  return new FleetError(
    'postgres_failed',
    `Postgres did not start: ${words === '' ? 'no reason given' : words}`,
    {
      hint: `see ${layout.logFile}`,
    },
  )
}

/** The postmaster that runs on the data folder though we did not start it, ready or not; null when none does. */
export async function findPostgres(pgData: string, clock: Clock): Promise<PostgresProcess | null> {
  const file = await readPidFile(pgData)
  if (file === null || !(await isPostgresOf(file.pid, pgData))) return null
  return { pid: file.pid, adopted: true, exited: watchPid(file.pid, pgData, clock) }
}

/**
 * The server that runs on the data folder though we did not start it (its agent died), once it is ready; null when
 * none does.
 * @throws FleetError `postgres_failed` when it doesn't become ready
 */
export async function adoptPostgres(
  pgData: string,
  clock: Clock,
  signal?: AbortSignal,
): Promise<PostgresProcess | null> {
  const found = await findPostgres(pgData, clock)
  if (found === null) return null
  const { pid } = found
  const outcome = await pollUntil(
    async () => {
      if (await isReady(pgData, pid)) return 'ready'
      return (await isPostgresOf(pid, pgData)) ? null : 'ended'
    },
    { clock, timeoutMs: startMsMax, signal },
  )
  if (outcome === 'ready') return found
  if (outcome === 'ended') return null
  throw new FleetError('postgres_failed', `the server ${String(pid)} on ${pgData} does not become ready`)
}

async function watchPid(pid: number, pgData: string, clock: Clock): Promise<ExitReport> {
  while (await isPostgresOf(pid, pgData)) {
    await new Promise<void>((resolve) => clock.after(adoptedPollMs, resolve))
  }
  return { code: null, signal: null }
}

/** How to stop. */
export interface StopOptions {
  readonly mode: StopMode | 'kill'
  readonly pgData: string
  readonly clock: Clock
}

const ladder = ['smart', 'fast', 'immediate', 'kill'] as const
const stopSignals = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT', kill: 'SIGKILL' } as const

/**
 * Stops the server, harder when a way takes too long: a stopped (SIGSTOP) child would hold a fast stop for ever.
 * @returns the way that ended it
 * @throws FleetError `postgres_failed` when even kill -9 does not (a process that hangs in the kernel)
 */
export async function stopPostgres(
  server: PostgresProcess,
  options: StopOptions,
): Promise<StopMode | 'kill'> {
  const { clock, pgData } = options
  for (const mode of ladder.slice(ladder.indexOf(options.mode))) {
    sendSignal(server.pid, stopSignals[mode])
    const timeoutMs = stopMsMax[mode]
    if (await settlesWithin(clock, timeoutMs, server.exited)) {
      if (mode === 'kill' || mode === 'immediate') await clearOrphans(pgData, clock)
      return mode
    }
  }
  throw new FleetError('postgres_failed', `the server ${String(server.pid)} cannot be ended`)
}

/**
 * Ends what a postmaster that was killed left behind: a busy child holds the shared memory, and no new postmaster
 * starts while it does. Does nothing while the postmaster lives.
 */
export async function clearOrphans(pgData: string, clock: Clock): Promise<void> {
  const file = await readPidFile(pgData)
  if (file === null || (await isPostgresOf(file.pid, pgData))) return
  for (const signal of ['SIGQUIT', 'SIGKILL'] as const) {
    const left = await postgresProcessesOf(pgData)
    // One that a signal has stopped hears nothing softer than the end.
    for (const pid of left) sendSignal(pid, (await isFrozen(pid)) ? 'SIGKILL' : signal)
    const gone =
      left.length === 0 ||
      (await pollUntil(async () => ((await postgresProcessesOf(pgData)).length === 0 ? true : null), {
        clock,
        timeoutMs: orphanMsMax,
        everyMs: 50,
      }))
    if (gone === true) break
  }
  await clearTakenPid(pgData, file.pid)
}

/**
 * A pid that another process has got since (after a restart of a container, usually), or that a dead postmaster keeps
 * until its parent looks, would make Postgres believe that a postmaster runs. Where /proc told that no process works in
 * the folder, the file is known to be a left-over.
 */
async function clearTakenPid(pgData: string, pid: number): Promise<void> {
  if (process.platform !== 'linux' || !isPidTaken(pid)) return
  if ((await postgresProcessesOf(pgData)).length === 0)
    await rm(join(pgData, 'postmaster.pid'), { force: true })
}

/** Makes the server read its configuration again. */
export function reloadPostgres(server: PostgresProcess): void {
  sendSignal(server.pid, 'SIGHUP')
}
