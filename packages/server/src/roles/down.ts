// `fleetshard down`: stops the cluster of a data directory, also what a crash of it left running, and removes its data
// when that is asked for.
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '@fleetshard/core'
import { openAgent, type Agent } from '../agent/mod.ts'
import { confirmDeletion, EXIT, say, type CommandContext, type ExitCode } from '../cli/mod.ts'
import { dataDirOf, silentLogger, type ClusterState } from '../runtime/mod.ts'
import { isStillRunning, liveCluster, serverProcesses } from './running.ts'

const waitMsDefault = 60_000
const lookEveryMs = 50
/** A file that only data directories of ours have. */
const markFile = 'agent.json'

/** @throws FleetError `deadline_exceeded` when the cluster does not stop, `data_dir_unusable` for a foreign folder */
export async function runDown(context: CommandContext): Promise<ExitCode> {
  const { config, cwd, options } = context
  const dataDir = dataDirOf(config, cwd)
  const destroy = options.isSet('destroy')
  if (destroy && existsSync(dataDir)) {
    refuseForeign(dataDir)
    await confirmDeletion(context, 'data directory', dataDir)
  }
  const running = await liveCluster(dataDir)
  if (running !== null) await stopRunning(context, running)
  else if ((await serverProcesses(dataDir)).length > 0) await stopLeftovers(context, dataDir)
  else say(context, `no cluster runs on ${dataDir}`)
  if (destroy) await removeData(context, dataDir)
  return EXIT.ok
}

async function stopRunning(context: CommandContext, state: ClusterState): Promise<void> {
  const { clock, stop, options } = context
  const pid = String(state.pid)
  sendStop(state)
  const untilMs = clock.monotonic() + (options.durationMs('timeout') ?? waitMsDefault)
  while (await isStillRunning(state)) {
    if (clock.monotonic() > untilMs) {
      throw new FleetError('deadline_exceeded', `process ${pid} has not stopped yet`, {
        hint: `wait for it with fleetshard down --timeout 5m, or end it with kill -9 ${pid} and run fleetshard down again`,
      })
    }
    await clock.sleep(lookEveryMs, stop)
  }
  say(context, `the cluster on ${state.dataDir} has stopped (process ${pid})`)
}

function sendStop({ pid, dataDir }: ClusterState): void {
  try {
    process.kill(pid, 'SIGTERM')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ESRCH') return
    throw new FleetError(
      'data_dir_in_use',
      `process ${String(pid)} runs the cluster on ${dataDir} for somebody else`,
      {
        hint: `stop it as the account that started it, or as root: kill ${String(pid)}`,
        cause: error,
      },
    )
  }
}

/** Servers that a killed `up` left: taken over, then stopped as they should have been. */
async function stopLeftovers(context: CommandContext, dataDir: string): Promise<void> {
  say(context, 'the cluster has crashed and left servers running; stopping them')
  {
    await using agent = await openAgentOn(context, dataDir)
    await agent.startAll(context.stop)
  }
  say(context, `the servers on ${dataDir} have stopped`)
}

async function removeData(context: CommandContext, dataDir: string): Promise<void> {
  if (!existsSync(dataDir)) {
    say(context, `there is no data directory ${dataDir}`)
    return
  }
  {
    await using agent = await openAgentOn(context, dataDir)
    await dropAll(agent)
  }
  await rm(dataDir, { recursive: true, force: true })
  say(context, `${dataDir} is removed`)
}

/** Followers first: a server that is followed is not dropped. */
async function dropAll(agent: Agent): Promise<void> {
  for (let left = agent.list(); left.length > 0; left = agent.list()) {
    const last = left.find(({ id }) => !left.some(({ of }) => of === id))
    if (last === undefined) return
    await agent.drop(last.id)
  }
}

function openAgentOn({ config, clock }: CommandContext, dataDir: string): Promise<Agent> {
  return openAgent({ dataDir, log: silentLogger, clock, pgBin: config.get('pg-bin') ?? undefined })
}

function refuseForeign(dataDir: string): void {
  if (existsSync(join(dataDir, markFile))) return
  throw new FleetError('data_dir_unusable', `${dataDir} is not the data directory of a local cluster`, {
    hint: 'name the right one with --data-dir',
  })
}
