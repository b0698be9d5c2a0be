// Makes the data folder of a new primary with initdb, under a temporary name that becomes its own when complete.
import { execFile } from 'node:child_process'
import { readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { FleetError } from '@fleetshard/core'
import type { PostgresBinaries } from './binaries.ts'
import { exists, readTextIfAny, syncFolder, writeFileAtomic } from './files.ts'
import type { ServerLayout } from './layout.ts'
import { lastWords } from './log-file.ts'
import { superuserRole, type Durability } from './model.ts'
import { asUser, type ServerUser } from './os-user.ts'

const run = promisify(execFile)
const initMsMax = 120_000

/** What initdb needs. */
export interface InitOptions {
  readonly binaries: PostgresBinaries
  readonly layout: ServerLayout
  readonly user: ServerUser
  readonly superuserPassword: string
  readonly walSegmentMegabytes: number
  readonly durability: Durability
  readonly signal?: AbortSignal | undefined
}

/** Does nothing when the data folder is there. @throws FleetError `postgres_failed`, `data_dir_unusable` */
export async function initDatabase(options: InitOptions): Promise<void> {
  const { layout } = options
  if (await dataMajor(layout)) return
  if (await exists(layout.pgData)) await assertEmpty(layout.pgData)
  await rm(layout.pgDataNew, { recursive: true, force: true })
  const passwordFile = join(layout.confDir, 'initdb.password') // never on a command line
  await writeFileAtomic(passwordFile, options.superuserPassword, { mode: 0o600, owner: options.user })
  try {
    await runInitdb(options, passwordFile)
  } finally {
    await rm(passwordFile, { force: true })
  }
  await rename(layout.pgDataNew, layout.pgData)
  await syncFolder(dirname(layout.pgData))
}

async function assertEmpty(folder: string): Promise<void> {
  if ((await readdir(folder)).length === 0) return
  throw new FleetError('data_dir_unusable', `${folder} is not empty, and is no Postgres data`, {
    hint: 'remove it, or choose another --data-dir',
  })
}

async function runInitdb(options: InitOptions, passwordFile: string): Promise<void> {
  const { binaries, user } = options
  try {
    await run(binaries.initdb, initdbArguments(options, passwordFile), {
      cwd: '/',
      env: {}, // a LANG of the caller that is not installed would make it fail
      timeout: initMsMax,
      signal: options.signal,
      ...asUser(user),
    })
  } catch (error) {
    options.signal?.throwIfAborted()
    const { stderr = '' } = error as { stderr?: string } // as promisified execFile rejects
    throw new FleetError('postgres_failed', `initdb failed: ${lastWords(stderr)}`, {
      cause: error,
    })
  }
}

function initdbArguments(options: InitOptions, passwordFile: string): string[] {
  const { binaries } = options
  return [
    '-D',
    options.layout.pgDataNew,
    '-U',
    superuserRole,
    '-E',
    'UTF8',
    '--locale=C',
    ...(binaries.major >= 17 ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8'] : []),
    '--auth=scram-sha-256',
    `--pwfile=${passwordFile}`,
    '--no-instructions',
    `--wal-segsize=${String(options.walSegmentMegabytes)}`,
    ...(options.durability === 'throwaway' ? ['--no-sync'] : []),
  ]
}

/** Major version that made the data; null when there is none. */
export async function dataMajor(layout: ServerLayout): Promise<number | null> {
  const text = await readTextIfAny(join(layout.pgData, 'PG_VERSION'))
  const major = text === null ? Number.NaN : Number.parseInt(text, 10)
  return Number.isSafeInteger(major) ? major : null
}
