// Looking at processes of this host: is that pid still the process we mean? Linux by /proc, elsewhere by ps.
import { execFile } from 'node:child_process'
import { readFile, readdir, readlink, realpath } from 'node:fs/promises'
import { basename } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const psMsMax = 5_000

/** What identifies a process beyond its pid, which is given again: the moment it started, in the system's words. */
export interface ProcessIdentity {
  readonly pid: number
  readonly started: string
}

/** The process if it lives (a zombie does not), else null. */
export async function identifyProcess(pid: number): Promise<ProcessIdentity | null> {
  const stat = await procStat(pid)
  if (stat !== undefined) return stat === null || stat.state === 'Z' ? null : { pid, started: stat.started }
  const line = await ps(pid, 'stat=,lstart=')
  const match = /^(\S+)\s+(.+)$/.exec(line)
  if (match?.[1] === undefined || match[2] === undefined || match[1].startsWith('Z')) return null
  return { pid, started: match[2].trim() }
}

/** True for a process that a signal has stopped (SIGSTOP). */
export async function isFrozen(pid: number): Promise<boolean> {
  const stat = await procStat(pid)
  if (stat !== undefined) return stat?.state === 'T' || stat?.state === 't'
  return (await ps(pid, 'stat=')).startsWith('T')
}

/** Fields 3 and 22 of /proc/pid/stat; null: no such process; undefined: no /proc on this system. */
async function procStat(pid: number): Promise<{ state: string; started: string } | null | undefined> {
  if (process.platform !== 'linux') return undefined
  try {
    const text = await readFile(`/proc/${String(pid)}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ') // the name may hold blanks and brackets
    return { state: fields[0] ?? '', started: fields[19] ?? '' }
  } catch {
    return null
  }
}

async function ps(pid: number, columns: string): Promise<string> {
  try {
    const { stdout } = await run('ps', ['-o', columns, '-p', String(pid)], { timeout: psMsMax })
    return stdout.trim()
  } catch {
    return ''
  }
}

/** True when the pid is a live postgres process (postmaster or child) that works in the data folder. */
export async function isPostgresOf(pid: number, pgData: string): Promise<boolean> {
  if ((await identifyProcess(pid)) === null) return false
  if (process.platform !== 'linux') return basename(await ps(pid, 'comm=')).startsWith('postgres')
  try {
    const [program, folder, wanted] = await Promise.all([
      readlink(`/proc/${String(pid)}/exe`),
      readlink(`/proc/${String(pid)}/cwd`),
      realpath(pgData),
    ])
    // A program that was replaced on disk meanwhile shows up with " (deleted)".
    return basename(program).replace(/ \(deleted\)$/, '') === 'postgres' && folder === wanted
  } catch {
    return false
  }
}

/** Pids of all live postgres processes that work in the data folder. Empty where there is no /proc. */
export async function postgresProcessesOf(pgData: string): Promise<number[]> {
  if (process.platform !== 'linux') return []
  const names = await readdir('/proc')
  const pids = names.filter((name) => /^\d+$/.test(name)).map(Number)
  const matches = await Promise.all(pids.map((pid) => isPostgresOf(pid, pgData)))
  return pids.filter((_, index) => matches[index])
}

/** True when the system knows the pid, be it of a process that has ended and whose parent has not looked yet. */
export function isPidTaken(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Sends the signal; false when the process is gone. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}
