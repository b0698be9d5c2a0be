// Who listens on a TCP port of this machine: read from /proc, where there is one. For error messages only.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'

/** A process that listens on a port. */
export interface PortHolder {
  readonly pid: number
  /** The program and its first arguments, shortened. */
  readonly command: string
}

const commandLengthMax = 60
/** Processes looked at; a machine with more gives no name. */
const processesMax = 20_000
const LISTEN = '0A'

/** The process that listens on the port; null where it can't be told (not Linux, or another user's process). */
export function findPortHolder(port: number, proc = '/proc'): PortHolder | null {
  const inodes = listeningInodes(port, proc)
  if (inodes.size === 0) return null
  for (const pid of list(proc)
    .filter((name) => /^\d+$/.test(name))
    .slice(0, processesMax)) {
    if (holdsSocket(join(proc, pid, 'fd'), inodes)) return { pid: Number(pid), command: commandOf(pid, proc) }
  }
  return null
}

/** Socket inodes of servers on the port, over IPv4 and IPv6. Format: proc_pid_net(5). */
function listeningInodes(port: number, proc: string): ReadonlySet<string> {
  const inodes = new Set<string>()
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  for (const table of ['tcp', 'tcp6']) {
    for (const line of read(join(proc, 'net', table))
      .split('\n')
      .slice(1)) {
      const fields = line.trim().split(/\s+/)
      const inode = fields[9]
      if (fields[1]?.endsWith(wanted) === true && fields[3] === LISTEN && inode !== undefined)
        inodes.add(inode)
    }
  }
  return inodes
}

function holdsSocket(folder: string, inodes: ReadonlySet<string>): boolean {
  return list(folder).some((name) => {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(join(folder, name)))?.[1]
      return inode !== undefined && inodes.has(inode)
    } catch {
      return false
    }
  })
}

/**
 * Program and script only: later arguments may hold secrets, and flags say nothing about who it is.
 */
function commandOf(pid: string, proc: string): string {
  const words = read(join(proc, pid, 'cmdline'))
    .split('\0')
    .filter((word) => word !== '')
  const shown = words
    .slice(0, 2)
    .filter((word, index) => index === 0 || (/^[\w./@+-]+$/.test(word) && !word.startsWith('-')))
  const command = shown.length > 0 ? shown.join(' ') : read(join(proc, pid, 'comm')).trim()
  const clean = command.replaceAll(/[^\x20-\x7e]/g, '?')
  return clean.length > commandLengthMax ? `${clean.slice(0, commandLengthMax - 1)}…` : clean || 'unknown'
}

function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
