// Which user runs Postgres. Postgres refuses root, so a run as root drops to `postgres`, else to `nobody`; that user
// must be able to walk to every folder it works in.
import { readFileSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** An account of this machine. A server that is started as it has none of its further groups. */
export interface ServerUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
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
    return { name, uid: Number(accountUid), gid: Number(gid) }
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
  return modeAllows(stat, user, 0o1)
}

/**
 * True when the mode of a file or folder gives the user all the bits: 4 read, 2 write, 1 enter.
 * @param bits as in one digit of the mode
 */
export function modeAllows(
  found: { readonly uid: number; readonly gid: number; readonly mode: number },
  user: Pick<ServerUser, 'uid' | 'gid'>,
  bits: number,
): boolean {
  const shift = found.uid === user.uid ? 6 : found.gid === user.gid ? 3 : 0
  return ((found.mode >> shift) & bits) === bits
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
