// Exactly one agent on a data directory, also after kill -9, without help of the system's file locks.
//
// The lock is a file `agent.lock.<n>`; the one with the highest n counts. It names its holder by pid and start time.
// Who finds the highest one stale (its holder is gone, or has released it) links the next number, which succeeds for
// one process only, then looks again: if a higher one appeared, somebody was ahead and the link is taken back. The
// highest file is never removed, only marked as released, so a number is never used twice.
import { randomBytes } from 'node:crypto'
import { link, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '@fleetshard/core'
import { readTextIfAny, writeFileAtomic } from './files.ts'
import { identifyProcess, type ProcessIdentity } from './proc.ts'

const prefix = 'agent.lock.'

/** The lock, until it is disposed or the process ends. */
export interface DataDirLock extends AsyncDisposable {
  readonly path: string
}

/** @throws FleetError `data_dir_in_use` that names the holder's pid */
export async function lockDataDir(dataDir: string, pid = process.pid): Promise<DataDirLock> {
  const self = await identify(pid)
  if (self === null) throw new Error(`there is no process ${String(pid)}`)
  const highest = await highestNumber(dataDir)
  if (highest > 0) await assertStale(dataDir, highest)
  const number = highest + 1
  const path = join(dataDir, `${prefix}${String(number)}`)
  if (!(await linkNew(path, JSON.stringify(self)))) throw inUse(dataDir, null)
  if ((await highestNumber(dataDir)) > number) {
    await rm(path, { force: true })
    throw inUse(dataDir, null)
  }
  await removeBelow(dataDir, number)
  return {
    path,
    async [Symbol.asyncDispose]() {
      if ((await readTextIfAny(path)) !== null) await writeFileAtomic(path, 'released', { mode: 0o644 })
    },
  }
}

/** With the boot: after a restart of the machine, pids and start times come again. */
async function identify(pid: number): Promise<ProcessIdentity | null> {
  const found = await identifyProcess(pid)
  const boot = await readTextIfAny('/proc/sys/kernel/random/boot_id')
  return found === null ? null : { pid, started: `${(boot ?? '').trim()} ${found.started}` }
}

async function numbers(dataDir: string): Promise<number[]> {
  const names = await readdir(dataDir)
  return names.flatMap((name) => {
    const digits = name.startsWith(prefix) ? name.slice(prefix.length) : ''
    return /^\d+$/.test(digits) ? [Number(digits)] : []
  })
}

const highestNumber = async (dataDir: string): Promise<number> => Math.max(0, ...(await numbers(dataDir)))

async function assertStale(dataDir: string, number: number): Promise<void> {
  const holder = parseHolder(await readTextIfAny(join(dataDir, `${prefix}${String(number)}`)))
  if (holder === null) return
  const now = await identify(holder.pid)
  if (now?.started === holder.started) throw inUse(dataDir, holder.pid)
}

/** Null when the lock was released. */
function parseHolder(text: string | null): ProcessIdentity | null {
  try {
    const holder = JSON.parse(text ?? '') as Partial<ProcessIdentity>
    if (typeof holder.pid !== 'number' || typeof holder.started !== 'string') return null
    return { pid: holder.pid, started: holder.started }
  } catch {
    return null
  }
}

/** Makes the file with its whole text at once; false when there is one already. */
async function linkNew(path: string, text: string): Promise<boolean> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  await writeFile(temporary, text)
  try {
    await link(temporary, path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    await rm(temporary, { force: true })
  }
}

async function removeBelow(dataDir: string, number: number): Promise<void> {
  for (const other of await numbers(dataDir)) {
    if (other < number) await rm(join(dataDir, `${prefix}${String(other)}`), { force: true })
  }
}

function inUse(dataDir: string, pid: number | null): FleetError {
  const holder = pid === null ? 'another process' : `process ${String(pid)}`
  return new FleetError('data_dir_in_use', `${holder} runs a cluster on ${dataDir}`, {
    hint: 'stop it with fleetshard down, or choose another --data-dir',
    facts: pid === null ? {} : { pid },
  })
}
