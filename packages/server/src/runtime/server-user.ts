// Which user runs Postgres. Postgres refuses root, so a run as root drops to `postgres`, else to `nobody`; that user
// must be able to walk to every folder it works in.
import { readFileSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** An account of this machine. */
export interface ServerUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
  /** Its further groups. */
  readonly groups: readonly number[]
}

/** Accounts that servers run as under root, best first. */
const CANDIDATES = ['postgres', 'nobody'] as const

/**
 * The account that servers run as; null when they run as ourselves (not root, or no such account: initdb will say so).
 * @param read reads a file; the file system by default
 */
export function serverUser(
  uid: number | undefined = process.getuid?.(),
  read: (path: string) => string = (path) => readFileSync(path, 'utf8'),
): ServerUser | null {
  if (uid !== 0) return null
  const accounts = tableOf(read, '/etc/passwd')
  for (const name of CANDIDATES) {
    const account = accounts.find((fields) => fields[0] === name)
    const [, , accountUid, gid] = account ?? []
    if (accountUid === undefined || gid === undefined) continue
    return { name, uid: Number(accountUid), gid: Number(gid), groups: groupsOf(read, name) }
  }
  return null
}

/** The first folder from the root on that the user may not pass, or null when all of them, `path` included, let it by. */
export function blockedFolder(path: string, user: ServerUser): string | null {
  const parent = dirname(path)
  const above = parent === path ? null : blockedFolder(parent, user)
  return above ?? (mayPass(path, user) ? null : path)
}

function mayPass(folder: string, user: ServerUser): boolean {
  const stat = statSync(folder, { throwIfNoEntry: false })
  // What does not exist yet will be made with the right owner.
  if (stat === undefined) return true
  if (stat.uid === user.uid) return (stat.mode & 0o100) !== 0
  if (stat.gid === user.gid || user.groups.includes(stat.gid)) return (stat.mode & 0o010) !== 0
  return (stat.mode & 0o001) !== 0
}

function groupsOf(read: (path: string) => string, name: string): readonly number[] {
  return tableOf(read, '/etc/group')
    .filter((fields) => fields[3]?.split(',').includes(name) === true)
    .map((fields) => Number(fields[2]))
}

function tableOf(read: (path: string) => string, path: string): readonly string[][] {
  try {
    return read(path)
      .split('\n')
      .map((line) => line.split(':'))
  } catch {
    return []
  }
}
