// Finds the Postgres programs: an explicit folder, FLEETSHARD_PG_BIN, the embedded package, local installs. Data
// made by one major version runs under that major only, so a search may ask for one.
import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { delimiter, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { FleetError } from '@fleetshard/core'
import { findEmbeddedPackage, prepareEmbedded, type EmbeddedPackage } from './embedded-package.ts'
import { exists } from './files.ts'
import { asUser, type ServerUser } from './os-user.ts'

const run = promisify(execFile)
const versionMsMax = 10_000
const debianRoot = '/usr/lib/postgresql'
/** Folders of `PATH` where servers usually are; the environment's own PATH comes in as a parameter. */
const usualPath = ['/usr/local/pgsql/bin', '/usr/local/bin', '/usr/bin', '/opt/homebrew/bin'].join(delimiter)

/** Oldest major that the agent can run: the framing of base backups is that of 15 and later. */
export const majorMin = 15

/** The programs that were found. */
export interface PostgresBinaries {
  readonly initdb: string
  readonly postgres: string
  readonly source: 'explicit' | 'environment' | 'embedded' | 'local'
  /** `18.4` */
  readonly version: string
  readonly major: number
}

/** Where to look and for what. */
export interface BinariesSearch {
  readonly user: ServerUser
  readonly cacheDirs: readonly string[]
  /** `--pg-bin`. */
  readonly explicit?: string | undefined
  /** FLEETSHARD_PG_BIN. */
  readonly environment?: string | undefined
  /** Only this major will do. */
  readonly major?: number | undefined
  /** Folders of PATH; the usual ones by default. */
  readonly path?: string | undefined
  /** The embedded package; looked up by default, null for none. */
  readonly embedded?: EmbeddedPackage | null | undefined
}

type Candidate = { readonly source: PostgresBinaries['source']; readonly folder: () => Promise<string> }

/**
 * The first place that has the programs in the wanted major. A folder that was named is used or refused, never
 * passed over.
 * @throws FleetError `postgres_missing`, `postgres_version`
 */
export async function resolveBinaries(search: BinariesSearch): Promise<PostgresBinaries> {
  const named = namedFolder(search)
  if (named !== null) {
    const found = await inspect(named.folder, named.source, search.user)
    if (found === null) {
      throw new FleetError('postgres_missing', `there is no initdb and postgres in ${named.folder}`, {
        hint: `correct ${named.source === 'explicit' ? '--pg-bin' : 'FLEETSHARD_PG_BIN'}`,
      })
    }
    return checkMajor(found, search.major)
  }
  const { fitting, others, failures } = await searchAll(search)
  if (fitting !== null) return fitting
  const [other] = others
  if (other !== undefined) return checkMajor(other, search.major)
  if (failures[0] !== undefined) throw failures[0]
  throw new FleetError('postgres_missing', 'no Postgres server program was found', {
    hint: 'run npm ci, or give the folder of a local install with --pg-bin',
  })
}

interface SearchResult {
  readonly fitting: PostgresBinaries | null
  /** Programs of other majors. */
  readonly others: readonly PostgresBinaries[]
  /** Why places that have programs could not be used. */
  readonly failures: readonly FleetError[]
}

async function searchAll(search: BinariesSearch): Promise<SearchResult> {
  const others: PostgresBinaries[] = []
  const failures: FleetError[] = []
  for (const candidate of await searchPlaces(search)) {
    try {
      const found = await inspect(await candidate.folder(), candidate.source, search.user)
      if (found === null || found.major < majorMin) continue
      if (search.major === undefined || found.major === search.major)
        return { fitting: found, others, failures }
      others.push(found)
    } catch (error) {
      if (!(error instanceof FleetError)) throw error
      failures.push(error)
    }
  }
  return { fitting: null, others, failures }
}

function namedFolder(search: BinariesSearch): { folder: string; source: 'explicit' | 'environment' } | null {
  if (search.explicit !== undefined && search.explicit !== '') {
    return { folder: resolve(search.explicit), source: 'explicit' }
  }
  if (search.environment !== undefined && search.environment !== '') {
    return { folder: resolve(search.environment), source: 'environment' }
  }
  return null
}

function checkMajor(found: PostgresBinaries, wanted: number | undefined): PostgresBinaries {
  if (found.major < majorMin) {
    throw new FleetError(
      'postgres_version',
      `${found.postgres} is PostgreSQL ${found.version}; ${String(majorMin)} is the oldest that works here`,
    )
  }
  if (wanted === undefined || wanted === found.major) return found
  throw new FleetError(
    'postgres_version',
    `the data was made by PostgreSQL ${String(wanted)}, but ${found.postgres} is ${found.version}`,
    { hint: `give the programs of PostgreSQL ${String(wanted)} with --pg-bin, or choose another --data-dir` },
  )
}

async function searchPlaces(search: BinariesSearch): Promise<Candidate[]> {
  const embedded = search.embedded === undefined ? await findEmbeddedPackage() : search.embedded
  const local = (folder: string): Candidate => ({ source: 'local', folder: () => Promise.resolve(folder) })
  return [
    ...(embedded === null
      ? []
      : [{ source: 'embedded' as const, folder: () => prepareEmbedded(embedded, search) }]),
    ...(await debianFolders()).map(local),
    ...(search.path ?? usualPath).split(delimiter).filter(Boolean).map(local),
  ]
}

/** Debian's layout, newest major first. */
async function debianFolders(): Promise<string[]> {
  const names = await readdir(debianRoot).catch(() => [])
  const majors = names.filter((name) => /^\d+$/.test(name)).sort((a, b) => Number(b) - Number(a))
  return majors.map((major) => join(debianRoot, major, 'bin'))
}

async function inspect(
  folder: string,
  source: PostgresBinaries['source'],
  user: ServerUser,
): Promise<PostgresBinaries | null> {
  const [initdb, postgres] = [join(folder, 'initdb'), join(folder, 'postgres')]
  if (!(await exists(initdb)) || !(await exists(postgres))) return null
  const version = await versionOf(postgres, user)
  return { initdb, postgres, source, version, major: Number.parseInt(version, 10) }
}

/** Runs it as the server user, which also shows that he can. */
async function versionOf(postgres: string, user: ServerUser): Promise<string> {
  let text: string
  try {
    const options = { cwd: '/', env: {}, timeout: versionMsMax, ...asUser(user) }
    text = (await run(postgres, ['--version'], options)).stdout
  } catch (error) {
    throw new FleetError('postgres_missing', `${postgres} cannot be run by the user ${user.name}`, {
      hint: 'give the folder of an install that works with --pg-bin',
      cause: error,
    })
  }
  const version = /\(PostgreSQL\) (\d+(?:\.\d+)*\S*)/.exec(text)?.[1]
  if (version !== undefined) return version
  throw new FleetError(
    'postgres_missing',
    `${postgres} is not a Postgres server: ${text.slice(0, 80).trim()}`,
  )
}
