// A throw-away cluster for workloads: `fleetshard up` in a temporary folder, and a router in a process of its own, so
// that its CPU time and memory can be told apart.
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { measure, type Measured } from './process.ts'
import { freePort, installedPostgres, isReady, startProgram, stopProgram, until } from './program.ts'

/** A running cluster. */
export interface BenchCluster extends AsyncDisposable {
  readonly managerUrl: string
  readonly postgresVersion: string
  /** A router of its own, and where it listens. */
  readonly router: Measured & { readonly port: number }
  /** Connection string of a node, with its password; the id is that of the API. */
  nodeUrl(nodeId: string): string
}

/** Starts a cluster with that many shards without replicas, on an installed Postgres if there is one. */
export async function startBenchCluster(shards: number): Promise<BenchCluster> {
  // Postgres runs as another user when this is root: the folder must let it in.
  const dataDir = mkdtempSync('/var/tmp/fleetshard-bench-')
  chmodSync(dataDir, 0o755)
  const ports = ['router', 'manager', 'worker'].flatMap((role) =>
    (role === 'worker' ? ['metrics-port'] : ['http-port', 'metrics-port']).map(
      (port) => `--${role}-${port}=0`,
    ),
  )
  const bin = installedPostgres()
  const up = startProgram([
    'up',
    '--data-dir',
    dataDir,
    '--shards',
    String(shards),
    '--replicas',
    '0',
    '--agent-port=0',
    '--router-wire-port=0',
    ...ports,
    ...(bin === null ? [] : ['--pg-bin', bin]),
  ])
  const state = await until(() => readState(dataDir), up)
  const port = await freePort()
  const router = startProgram(
    [
      'router',
      '--http-port',
      String(port),
      '--metrics-port',
      '0',
      '--wire-port=0',
      '--catalog-url',
      state.catalog.url,
      '--router-map-cache-file',
      join(dataDir, 'bench.map'),
    ],
    {
      FLEETSHARD_CATALOG_PASSWORD: readFileSync(state.catalog.passwordFile, 'utf8').trim(),
    },
  )
  await until(() => isReady(port), router)
  return {
    managerUrl: state.urls.manager,
    postgresVersion: state.postgresVersion,
    router: { ...measure(router, {}), port },
    nodeUrl: (nodeId) => nodeUrl(dataDir, nodeId),
    async [Symbol.asyncDispose]() {
      await stopProgram(router)
      await stopProgram(up)
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

interface State {
  readonly postgresVersion: string
  readonly urls: { readonly manager: string }
  readonly catalog: { readonly url: string; readonly passwordFile: string }
}

async function readState(dataDir: string): Promise<State | null> {
  const path = join(dataDir, 'cluster.json')
  if (!existsSync(path)) return null
  const state = JSON.parse(readFileSync(path, 'utf8')) as State
  const answer = await fetch(`${state.urls.manager}/api/v1/shards`).catch(() => null)
  const body = answer?.ok === true ? ((await answer.json()) as { shards: unknown[] }) : { shards: [] }
  return body.shards.length > 0 ? state : null
}

/** The role of the cluster owns the databases; its password lies beside the group's others. */
function nodeUrl(dataDir: string, nodeId: string): string {
  const agent = JSON.parse(readFileSync(join(dataDir, 'agent.json'), 'utf8')) as {
    servers: { id: string; port: number }[]
  }
  const server = agent.servers.find(({ id }) => id === nodeId)
  if (server === undefined) throw new Error(`the cluster has no server ${nodeId}`)
  const group = nodeId.replace(/-[a-z]$/, '')
  const file = readdirSync(join(dataDir, 'secrets')).find(
    (name) => name.startsWith(`${group}.`) && !name.includes('.postgres.'),
  )
  if (file === undefined) throw new Error(`the cluster has no password of ${group}`)
  const [, user = ''] = file.split('.')
  const password = readFileSync(join(dataDir, 'secrets', file), 'utf8').trim()
  return `postgres://${user}:${encodeURIComponent(password)}@127.0.0.1:${String(server.port)}/app`
}
