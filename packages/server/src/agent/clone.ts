// Makes the data folder of a replica from a running server. A crash at any point leaves either a folder under a
// temporary name, or a complete replica: a clone without standby.signal would be a second primary.
import { execFile } from 'node:child_process'
import { chown, mkdir, open, rename, rm, writeFile, type FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { FleetError } from '@fleetshard/core'
import { baseBackup, renewSlot } from './base-backup.ts'
import type { PostgresBinaries } from './binaries.ts'
import { syncFolder } from './files.ts'
import type { ServerLayout } from './layout.ts'
import type { Durability } from './model.ts'
import { asUser, type ServerUser } from './os-user.ts'
import { withSession, type Login } from './sql.ts'
import { TarReader, type TarEvent } from './tar.ts'

const run = promisify(execFile)
const syncMsMax = 600_000

/** What a clone needs. */
export interface CloneOptions {
  /** The server to clone, as a role with REPLICATION. */
  readonly upstream: Login
  /** Slot on the upstream that keeps the WAL from the beginning of the clone on; made anew. */
  readonly slot: string
  readonly layout: ServerLayout
  readonly user: ServerUser
  readonly binaries: PostgresBinaries
  readonly durability: Durability
  readonly signal?: AbortSignal | undefined
}

/**
 * Clones into `layout.pgData`, which must not be there. An abort leaves a temporary folder, which the next clone
 * removes, and the slot.
 * @throws FleetError `postgres_failed`
 */
export async function cloneServer(options: CloneOptions): Promise<void> {
  const { layout, upstream, slot } = options
  await rm(layout.pgDataNew, { recursive: true, force: true })
  try {
    await withSession(
      { ...upstream, replication: true },
      async (client) => {
        await renewSlot(client, slot)
        await unpack(baseBackup(client, slot), options)
      },
      options.signal,
    )
    await finish(options)
  } catch (error) {
    options.signal?.throwIfAborted()
    if (error instanceof FleetError) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new FleetError('postgres_failed', `the clone failed: ${reason}`, { cause: error })
  }
}

async function unpack(archive: AsyncIterable<Buffer>, options: CloneOptions): Promise<void> {
  const root = options.layout.pgDataNew
  const { user } = options
  await makeFolder(root, user)
  await writeOwned(join(root, 'standby.signal'), '', user)
  const reader = new TarReader()
  const writer = new TreeWriter(root, user)
  try {
    for await (const chunk of archive) {
      for (const event of reader.feed(chunk)) await writer.write(event)
    }
    reader.end()
  } finally {
    await writer.close()
  }
  // Settings that were made by ALTER SYSTEM on the upstream (its own upstream, say) are not the replica's.
  await writeOwned(join(root, 'postgresql.auto.conf'), '', user)
}

/** Writes the entries of an archive below a folder, with the modes that Postgres wants. */
class TreeWriter {
  readonly #root: string
  readonly #user: ServerUser
  #file: FileHandle | null = null

  constructor(root: string, user: ServerUser) {
    this.#root = root
    this.#user = user
  }

  async write(event: TarEvent): Promise<void> {
    switch (event.kind) {
      case 'folder':
        if (event.path !== '') await makeFolder(join(this.#root, event.path), this.#user)
        return
      case 'file':
        this.#file = await open(join(this.#root, event.path), 'w', 0o600)
        if (this.#user.switched) await this.#file.chown(this.#user.uid, this.#user.gid)
        return
      case 'content':
        await this.#file?.writeFile(event.chunk)
        return
      case 'file-end':
        await this.close()
        return
      case 'link':
        throw new Error(`the data folder holds a link, ${event.path}, which cannot be cloned`)
    }
  }

  async close(): Promise<void> {
    const file = this.#file
    this.#file = null
    await file?.close()
  }
}

async function makeFolder(path: string, user: ServerUser): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  if (user.switched) await chown(path, user.uid, user.gid)
}

async function writeOwned(path: string, text: string, user: ServerUser): Promise<void> {
  await writeFile(path, text, { mode: 0o600 })
  if (user.switched) await chown(path, user.uid, user.gid)
}

async function finish(options: CloneOptions): Promise<void> {
  const { layout, user, signal } = options
  if (options.durability === 'full') {
    const args = ['--sync-only', '-D', layout.pgDataNew]
    await run(options.binaries.initdb, args, {
      cwd: '/',
      env: {},
      timeout: syncMsMax,
      signal,
      ...asUser(user),
    })
  }
  await rename(layout.pgDataNew, layout.pgData)
  await syncFolder(dirname(layout.pgData))
}

/** Makes a stopped server's data that of a replica: it will start in recovery and follow its configuration. */
export async function makeStandby(layout: ServerLayout, user: ServerUser): Promise<void> {
  await writeOwned(join(layout.pgData, 'standby.signal'), '', user)
  await writeOwned(join(layout.pgData, 'postgresql.auto.conf'), '', user)
  await syncFolder(layout.pgData)
}
