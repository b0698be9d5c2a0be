// Agents and folders for tests: everything lies in a temporary folder that the server user can read, and ends with
// the test process, also when that is killed.
import { randomInt } from 'node:crypto'
import { chmod, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLogger, systemClock } from '../runtime/mod.ts'
import type { Agent } from './agent.ts'
import { openAgent } from './open-agent.ts'
import type { AgentOptions } from './model.ts'
import { assertReachable, resolveServerUser } from './os-user.ts'
import { identifyProcess } from './proc.ts'
import { pollUntil } from './wait.ts'

import { withSession } from './sql.ts'

export { connect, withSession, type Login } from './sql.ts'

const folderPrefix = 'fleetshard-test-'
/** Folders of dead processes are removed after that; sooner would race with servers that are still ending. */
const staleMs = 3_600_000
/** Test processes run side by side: each begins somewhere else. */
const portsFrom = 18_000
const portsTo = 31_000
const untilMsMax = 40_000

/** An empty folder that the server user can enter; removed by the caller. Sweeps up after tests that were killed. */
export async function makeTestFolder(): Promise<string> {
  const base = await reachableBase()
  await sweep(base)
  const folder = await mkdtemp(join(base, `${folderPrefix}${String(process.pid)}-`))
  await chmod(folder, 0o755)
  return folder
}

async function reachableBase(): Promise<string> {
  const base = tmpdir()
  return assertReachable(base, resolveServerUser()).then(
    () => base,
    () => '/tmp',
  )
}

async function sweep(base: string): Promise<void> {
  for (const name of await readdir(base)) {
    const pid = new RegExp(`^${folderPrefix}(\\d+)-`).exec(name)?.[1]
    if (pid === undefined || (await identifyProcess(Number(pid))) !== null) continue
    const folder = join(base, name)
    const made = await stat(folder).catch(() => null)
    if (made === null || systemClock.now() - made.mtimeMs < staleMs) continue
    await rm(folder, { recursive: true, force: true }).catch(() => undefined) // another user's
  }
}

/** Options of a throw-away agent: quick, small, silent, and gone with this process. */
export function testAgentOptions(dataDir: string): AgentOptions {
  return {
    dataDir,
    log: silentLogger,
    clock: systemClock,
    portStart: randomInt(portsFrom, portsTo),
    durability: 'throwaway',
    dieWithParent: true,
    walSegmentMegabytes: 4,
    settings: { shared_buffers: '16MB' },
  }
}

/** A throw-away agent; disposing stops its servers and leaves its folder. */
export async function openTestAgent(dataDir: string, options: Partial<AgentOptions> = {}): Promise<Agent> {
  const agent = await openAgent({ ...testAgentOptions(dataDir), ...options })
  const release = endWithProcess(agent)
  const dispose = agent[Symbol.asyncDispose].bind(agent)
  return Object.assign(agent, {
    async [Symbol.asyncDispose]() {
      release()
      await dispose()
    },
  })
}

/** One statement on a server as the application's role. */
export async function query(agent: Agent, id: string, text: string): Promise<Record<string, unknown>[]> {
  return withSession(await agent.endpoint(id), async (client) => {
    const found = await client.query<Record<string, unknown>>(text)
    return found.rows
  })
}

/** Waits for a condition; fails when it does not come. */
export async function until(what: string, ask: () => Promise<boolean> | boolean): Promise<void> {
  const bounds = { clock: systemClock, timeoutMs: untilMsMax }
  const met = await pollUntil(async () => ((await ask()) ? true : null), bounds)
  if (met === null) throw new Error(`waited in vain: ${what}`)
}

/**
 * Where the kernel can't end the servers with us, an exit without disposing does; kill -9 is left to the kernel.
 * The returned function takes it back.
 */
export function endWithProcess(agent: Agent): () => void {
  const onExit = (): void => {
    for (const { pid } of agent.list()) {
      try {
        if (pid !== null) process.kill(pid, 'SIGQUIT')
      } catch {
        // gone already
      }
    }
  }
  process.once('exit', onExit)
  return () => void process.removeListener('exit', onExit)
}
