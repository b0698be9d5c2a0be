// Making folders with the missing ones above them.
import { mkdirSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

/**
 * Makes the folder and the missing ones above it. Not `mkdir` with `recursive`: that never returns where the file
 * system answers ENOENT for a folder whose parent is there, as /proc does.
 * @param mode of those that are made, less the umask
 * @returns the outermost one that was made, null when all were there
 */
export function makeFolders(folder: string, mode = 0o777): string | null {
  const path = resolve(folder)
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return null
  const parent = dirname(path)
  const first = parent === path ? null : makeFolders(parent, mode)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    // Somebody else was faster.
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return first
    throw error
  }
  return first ?? path
}
