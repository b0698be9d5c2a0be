// Who runs Postgres: it refuses root, so an agent of root drops to `postgres`, else to `nobody`; an agent of a
// plain user runs it as that user. Also checks that this user can reach a folder through all its parents.
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname, resolve } from 'node:path'
import { FleetError } from '@fleetshard/core'
import { modeAllows, serverUser } from '../runtime/mod.ts'

/** The user that servers run as. `switched`: it is not the user of this process, which then is root. */
export interface ServerUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
  readonly switched: boolean
}

/** @throws FleetError `postgres_failed` when root finds nobody to drop to */
export function resolveServerUser(): ServerUser {
  const uid = process.getuid?.() ?? -1
  if (uid !== 0) return { name: userName(uid), uid, gid: process.getgid?.() ?? -1, switched: false }
  const user = serverUser(uid)
  if (user !== null) return { name: user.name, uid: user.uid, gid: user.gid, switched: true }
  throw new FleetError(
    'postgres_failed',
    'Postgres refuses to run as root, and there is no other user for it',
    {
      hint: 'run as a plain user, or make a user `postgres`',
    },
  )
}

function userName(uid: number): string {
  try {
    return userInfo().username
  } catch {
    return `uid ${String(uid)}` // a container's uid need not be in passwd
  }
}

/** Spawn options that make a child run as the user; it loses all further groups of ours and of his. */
export function asUser(user: ServerUser): { uid?: number; gid?: number } {
  return user.switched ? { uid: user.uid, gid: user.gid } : {}
}

/** True when the user may read the file (or list the folder, with `x` also enter it). Throws when it is not there. */
export async function mayUse(path: string, user: ServerUser, wanted: 'r' | 'x' | 'rx'): Promise<boolean> {
  const bits = (wanted.includes('r') ? 4 : 0) | (wanted.includes('x') ? 1 : 0)
  if (!user.switched) {
    const mode = (bits & 4 ? constants.R_OK : 0) | (bits & 1 ? constants.X_OK : 0)
    try {
      await access(path, mode)
      return true
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EACCES' || code === 'EPERM') return false
      throw error
    }
  }
  return modeAllows(await stat(path), user, bits)
}

/** The folder and its parents that exist, outermost first. */
export function lineage(folder: string): string[] {
  const path = resolve(folder)
  const parent = dirname(path)
  return parent === path ? [path] : [...lineage(parent), path]
}

/**
 * Makes sure that the user can get through every existing folder on the way to `folder`, and it itself.
 * @throws FleetError `data_dir_unusable` that names the first folder in the way
 */
export async function assertReachable(folder: string, user: ServerUser): Promise<void> {
  for (const step of lineage(folder)) {
    let usable: boolean
    try {
      usable = await mayUse(step, user, 'x')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      throw error
    }
    if (!usable) {
      throw new FleetError(
        'data_dir_unusable',
        `the data directory cannot be used: the user ${user.name}, who runs Postgres, may not enter ${step}`,
        { hint: `choose another --data-dir, or run: chmod o+x ${step}` },
      )
    }
  }
}
