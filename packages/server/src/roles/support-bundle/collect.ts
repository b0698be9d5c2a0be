// What goes into a support bundle: each part is read by itself, and one that cannot be read is told of and left out.
import { release, totalmem, cpus, platform, arch } from 'node:os'
import { readFile } from 'node:fs/promises'
import { toFleetError } from '@fleetshard/core'
import type { CommandContext } from '../../cli/mod.ts'
import { CONFIG_KEYS, dataDirOf, redactText, settingOf, type ClusterState } from '../../runtime/mod.ts'
import { findings } from '../doctor.ts'
import { liveCluster } from '../running.ts'
import { logFiles } from './logs.ts'
import type { ArchiveFile } from './tar.ts'

/** What is in a bundle, and what is not. */
export interface Bundle {
  readonly files: readonly ArchiveFile[]
  /** Parts that could not be read. */
  readonly missing: readonly Missing[]
}

interface Missing {
  readonly part: string
  readonly reason: string
}

type Part = readonly [name: string, read: () => Promise<readonly ArchiveFile[]>]

const askMsMax = 10_000
/** Jobs and shards that are told of. */
const jobsMax = 200
const shardsMax = 200

/** Reads everything, and takes out of it what must not leave the machine. */
export async function collect(context: CommandContext, lines: number): Promise<Bundle> {
  const dataDir = dataDirOf(context.config, context.cwd)
  const state = await liveCluster(dataDir)
  const parts: readonly Part[] = [
    ['versions', async () => [json('versions.json', versionsOf(context, state))]],
    ['configuration', async () => [json('config.json', context.config.lines())]],
    ['doctor', async () => [json('doctor.json', await findings(context))]],
    ...managerParts(context),
    ...metricsParts(context, state),
    ['logs', () => logFiles(dataDir, lines)],
  ]
  const files: ArchiveFile[] = []
  const missing: Missing[] = []
  for (const [part, read] of parts) {
    try {
      files.push(...(await read()))
    } catch (error) {
      context.stop.throwIfAborted()
      missing.push({ part, reason: toFleetError(error).message })
    }
  }
  const at = new Date(context.clock.now()).toISOString()
  const manifest = json('manifest.json', { at, files: files.map(({ path }) => path), missing })
  const secrets = await secretsOf(context, state)
  const clean = [manifest, ...files].map(({ path, text }) => ({ path, text: redactText(text, secrets) }))
  return { files: clean, missing }
}

const json = (path: string, value: unknown): ArchiveFile => ({
  path,
  text: `${JSON.stringify(value, null, 2)}\n`,
})

function versionsOf({ version }: CommandContext, state: ClusterState | null): object {
  return {
    fleetshard: version,
    node: process.versions,
    platform: `${platform()} ${release()} ${arch()}`,
    processors: cpus().length,
    memory_bytes: totalmem(),
    postgres: state?.postgresVersion ?? null,
    cluster:
      state === null ? null : { started_at: state.startedAt, ports: state.ports, version: state.version },
  }
}

function managerParts({ admin, stop }: CommandContext): readonly Part[] {
  const options = { signal: stop, timeoutMs: askMsMax }
  const ask = (name: string, read: () => Promise<unknown>): Part => [
    name,
    async () => [json(`${name}.json`, await read())],
  ]
  return [
    ask('manager', () => admin.ready(options)),
    ask('topology', () => admin.topology({}, options)),
    ask('nodes', () => admin.nodes.list({}, options)),
    ask('jobs', async () => {
      const { jobs, ...more } = await admin.jobs.list({}, options)
      return { ...more, jobs: jobs.slice(0, jobsMax) }
    }),
    ask('failovers', async () => {
      const { shards } = await admin.shards.list({}, options)
      const found = []
      for (const { id } of shards.slice(0, shardsMax)) found.push(await admin.shards.failovers(id, options))
      return found
    }),
  ]
}

function metricsParts(context: CommandContext, state: ClusterState | null): readonly Part[] {
  const { routerMetrics, managerMetrics, workerMetrics, agentMetrics } = state?.urls ?? {}
  const urls = { router: routerMetrics, manager: managerMetrics, worker: workerMetrics, agent: agentMetrics }
  return Object.entries(urls).map(([role, url]): Part => [
    `metrics of the ${role}`,
    async () => {
      if (url === undefined) throw new Error('known only where the cluster runs')
      const signal = AbortSignal.any([context.stop, AbortSignal.timeout(askMsMax)])
      const response = await context.fetch(new URL('/metrics', url), { signal })
      return [{ path: `metrics/${role}.txt`, text: await response.text() }]
    },
  ])
}

/** Those that this process knows: settings that are secrets, and the files of the local cluster. */
async function secretsOf(
  { config }: CommandContext,
  state: ClusterState | null,
): Promise<ReadonlySet<string>> {
  const found = new Set<string>()
  for (const key of CONFIG_KEYS) {
    const value = settingOf(key).type === 'secret' ? config.get(key) : null
    if (typeof value === 'string') found.add(value)
  }
  for (const file of [state?.catalog?.passwordFile, state?.catalog?.secretsKeyFile]) {
    const text = file === undefined ? null : await readFile(file, 'utf8').catch(() => null)
    for (const line of text?.split('\n') ?? []) if (line.trim() !== '') found.add(line.trim())
  }
  return found
}
