// Small file work that has to be right: atomic and durable writes, private folders, ownership.
import { randomBytes } from 'node:crypto'
import { chmod, chown, lstat, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { FleetError } from '@fleetshard/core'
import { makeFolders } from '../runtime/mod.ts'
import type { ServerUser } from './os-user.ts'

/** Mode of a file and, where this process is root, its owner. */
export interface FileAccess {
  readonly mode: number
  readonly owner?: ServerUser
}

/** Replaces the file: after a crash it holds the old text or the new one, never a part. */
export async function writeFileAtomic(path: string, text: string, access: FileAccess): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  const file = await open(temporary, 'wx', access.mode)
  try {
    await file.writeFile(text)
    await file.chmod(access.mode) // the umask may have narrowed it
    if (access.owner?.switched === true) await file.chown(access.owner.uid, access.owner.gid)
    await file.sync()
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  await syncFolder(dirname(path))
}

/** Makes renames and new files in the folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Makes the folder and the missing ones above it, all with mode 755 whatever the umask. */
export async function makeOpenFolder(folder: string): Promise<void> {
  const first = makeFolders(folder)
  if (first === null) return
  for (let path = resolve(folder); path.length >= first.length; path = dirname(path)) {
    await chmod(path, 0o755)
  }
}

/**
 * Makes a folder of mode 0700 for the user, or makes sure that the one there is that: in a shared place like /tmp
 * somebody else may have put one there before us.
 * @throws FleetError `data_dir_unusable`
 */
export async function makePrivateFolder(folder: string, user: ServerUser): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 })
    if (user.switched) await chown(folder, user.uid, user.gid)
    return
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const found = await lstat(folder)
  if (found.isDirectory() && found.uid === 0 && user.switched && (found.mode & 0o777) === 0o700) {
    await chown(folder, user.uid, user.gid) // ours, from a run that died between the two calls
    return
  }
  if (!found.isDirectory() || found.uid !== user.uid || (found.mode & 0o077) !== 0) {
    throw new FleetError('data_dir_unusable', `${folder} is not a private folder of the user ${user.name}`, {
      hint: `remove ${folder}`,
    })
  }
}

/** The file's text, or null when there is none. */
export async function readTextIfAny(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** True when something is at the path. */
export async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  )
}
