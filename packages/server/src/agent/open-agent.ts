// Opens an agent: takes the data directory into possession, finds the programs, and reads what servers there are.
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { FleetError, type Clock } from '@fleetshard/core'
import type { Logger } from '../runtime/mod.ts'
import { Agent } from './agent.ts'
import { resolveBinaries } from './binaries.ts'
import { defaultCacheDirs } from './embedded-package.ts'
import { makeOpenFolder } from './files.ts'
import { assertListening, loopbackListening } from './listening.ts'
import { agentLayout, serverLayout, type AgentLayout } from './layout.ts'
import { lockDataDir } from './lock.ts'
import { ManagedServer, type ServerContext } from './managed-server.ts'
import type { AgentOptions, BootGuard, Peers } from './model.ts'
import { assertReachable, resolveServerUser, type ServerUser } from './os-user.ts'
import { PortAllocator, portStartDefault } from './ports.ts'
import { AgentState } from './state.ts'

/**
 * Takes possession of the data directory. Starts nothing yet: `startAll` does.
 * @throws FleetError `data_dir_in_use`, `data_dir_unusable`, `postgres_missing`, `postgres_version`, `invalid_config`
 */
export async function openAgent(options: AgentOptions): Promise<Agent> {
  const layout = agentLayout(options.dataDir)
  const user = resolveServerUser()
  const listening = options.listening ?? loopbackListening
  const ports = new PortAllocator(options.portStart ?? portStartDefault, listening.address)
  await assertListening(listening)
  await assertReachable(layout.dataDir, user)
  await makeDataDir(layout)
  const lock = await lockDataDir(layout.dataDir)
  try {
    const state = await AgentState.load(layout.stateFile)
    const binaries = await resolveBinaries({
      user,
      cacheDirs: defaultCacheDirs(layout.dataDir),
      explicit: options.pgBin,
      environment: options.pgBinFallback,
      major: state.major ?? undefined,
    })
    const servers = new Map<string, ManagedServer>()
    const context: ServerContext = {
      layout,
      user,
      binaries,
      state,
      ports,
      servers,
      listening,
      ...common(options),
    }
    for (const record of state.records()) {
      await assertOwner(serverLayout(layout, record.id).root, user)
      ports.reserve(record.port)
      servers.set(record.id, new ManagedServer(context, record.id))
    }
    return new Agent(context, servers, lock)
  } catch (error) {
    await lock[Symbol.asyncDispose]()
    throw error
  }
}

function common(options: AgentOptions): {
  clock: Clock
  log: Logger
  durability: 'full' | 'throwaway'
  dieWithParent: boolean
  walSegmentMegabytes: number
  settings: Readonly<Record<string, string | number>>
  guard: BootGuard | null
  peers: Peers | null
} {
  return {
    clock: options.clock,
    log: options.log,
    durability: options.durability ?? 'full',
    dieWithParent: options.dieWithParent ?? false,
    walSegmentMegabytes: options.walSegmentMegabytes ?? 16,
    settings: options.settings ?? {},
    guard: options.guard ?? null,
    peers: options.peers ?? null,
  }
}

async function makeDataDir(layout: AgentLayout): Promise<void> {
  try {
    await makeOpenFolder(layout.dataDir)
    await makeOpenFolder(layout.serversDir)
    await access(layout.dataDir, constants.W_OK)
  } catch (error) {
    throw new FleetError('data_dir_unusable', `the data directory ${layout.dataDir} cannot be written`, {
      hint: 'choose another --data-dir, or run as the user that owns it',
      cause: error,
    })
  }
}

/** A cluster that was made as root does not run as a plain user, nor the other way round. */
async function assertOwner(folder: string, user: ServerUser): Promise<void> {
  const found = await stat(folder).catch(() => null)
  if (found === null || found.uid === user.uid) return
  throw new FleetError(
    'data_dir_unusable',
    `the servers in ${folder} belong to uid ${String(found.uid)}, not to ${user.name}, who runs Postgres now`,
    { hint: 'run as the user that made the cluster, or choose another --data-dir' },
  )
}
