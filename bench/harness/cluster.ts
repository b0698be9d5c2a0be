// A throw-away cluster for workloads: `fleetshard up` in a temporary folder, and a router in a process of its own, so
// that its CPU time and memory can be told apart.
import type { ChildProcess } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs'
import { join } from 'node:path'
import { measure, type Measured } from './process.ts'
import {
  freePort,
  installedPostgres,
  isReady,
  startProgram,
  stopProgram,
  until,
  type ProgramLog,
} from './program.ts'

/** A router, and where it listens. */
export type BenchRouter = Measured & { readonly port: number; readonly wirePort: number }

/** A router as a workload wants it. */
export interface RouterOrder {
  /** Among the others of the cluster. */
  readonly name: string
  /** Further words for it. */
  readonly words: readonly string[]
  readonly log?: ProgramLog
  readonly environment?: Readonly<Record<string, string>> | undefined
}

/** A running cluster. */
export interface BenchCluster extends AsyncDisposable {
  readonly managerUrl: string
  readonly agentUrl: string
  /** Folder of the cluster; its servers are below `servers`. */
  readonly dataDir: string
  readonly postgresVersion: string
  /** A router of its own, and where it listens. */
  readonly router: BenchRouter
  /** Starts another one; it is to be ended before the cluster. */
  startRouter(order: RouterOrder): Promise<BenchRouter>
  /** Connection string of a node, with its password; the id is that of the API. */
  nodeUrl(nodeId: string): string
}

/** What a workload may want beyond the defaults. */
export interface BenchClusterOptions {
  /** Settings of every Postgres server; the servers are started once more with them. */
  readonly settings?: Readonly<Record<string, string>>
  /** Further words for the measured router. */
  readonly routerWords?: readonly string[]
  /** Of each shard; none by default. */
  readonly replicas?: number
  /** The environment of a process, whose cluster lies in that folder: what fault links need to be put in. */
  readonly environmentOf?: (member: 'up' | 'router', dataDir: string) => Readonly<Record<string, string>>
}

/** Starts a cluster with that many shards, on an installed Postgres if there is one. */
export async function startBenchCluster(
  shards: number,
  options: BenchClusterOptions = {},
): Promise<BenchCluster> {
  // Postgres runs as another user when this is root: the folder must let it in.
  const dataDir = mkdtempSync('/var/tmp/fleetshard-bench-')
  chmodSync(dataDir, 0o755)
  const ports = ['router', 'manager', 'worker'].flatMap((role) =>
    (role === 'worker' ? ['metrics-port'] : ['http-port', 'metrics-port']).map(
      (port) => `--${role}-${port}=0`,
    ),
  )
  const bin = installedPostgres()
  const startUp = (): ChildProcess =>
    startProgram(
      upWords({ dataDir, shards, ports, bin, replicas: options.replicas ?? 0 }),
      options.environmentOf?.('up', dataDir),
    )
  let up = startUp()
  let state = await until(() => readState(dataDir), up)
  if (options.settings !== undefined) {
    await stopProgram(up)
    changeSettings(dataDir, options.settings)
    up = startUp()
    state = await until(() => readState(dataDir), up)
  }
  const startRouter = (order: RouterOrder): Promise<BenchRouter> => startRouterOf({ dataDir, state }, order)
  const words = options.routerWords ?? []
  const environment = options.environmentOf?.('router', dataDir)
  const router = await startRouter({ name: 'bench', words, environment })
  return {
    managerUrl: state.urls.manager,
    agentUrl: state.urls.agent,
    dataDir,
    postgresVersion: state.postgresVersion,
    router,
    startRouter,
    nodeUrl: (nodeId) => nodeUrl(dataDir, nodeId),
    async [Symbol.asyncDispose]() {
      await router[Symbol.asyncDispose]()
      await stopProgram(up)
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

async function startRouterOf(
  { dataDir, state: { catalog } }: { readonly dataDir: string; readonly state: State },
  { name, words, log, environment }: RouterOrder,
): Promise<BenchRouter> {
  const [port, wirePort] = [await freePort(), await freePort()]
  const where = ['--http-port', String(port), '--metrics-port', '0', '--wire-port', String(wirePort)]
  const map = ['--router-map-cache-file', join(dataDir, `${name}.map`)]
  const router = startProgram(
    ['router', ...where, '--router-wire-auth=trust', '--catalog-url', catalog.url, ...map, ...words],
    {
      FLEETSHARD_CATALOG_PASSWORD: readFileSync(catalog.passwordFile, 'utf8').trim(),
      FLEETSHARD_SECRETS_KEY_FILE: catalog.secretsKeyFile,
      ...environment,
    },
    log,
  )
  await until(() => isReady(port), router)
  return { ...measure(router, {}), port, wirePort }
}

function upWords({
  dataDir,
  shards,
  ports,
  bin,
  replicas,
}: {
  readonly dataDir: string
  readonly shards: number
  readonly ports: readonly string[]
  readonly bin: string | null
  readonly replicas: number
}): readonly string[] {
  const what = ['--data-dir', dataDir, '--shards', String(shards), '--replicas', String(replicas)]
  return [
    'up',
    ...what,
    '--agent-port=0',
    '--agent-metrics-port=0',
    '--router-wire-port=0',
    ...ports,
    ...(bin === null ? [] : ['--pg-bin', bin]),
  ]
}

/** Writes them where they outrank the agent's; the servers must be stopped. */
function changeSettings(dataDir: string, settings: Readonly<Record<string, string>>): void {
  const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value}'\n`)
  const found = readdirSync(dataDir, { recursive: true, encoding: 'utf8' })
  for (const path of found.filter((each) => each.endsWith('postgresql.auto.conf')))
    appendFileSync(join(dataDir, path), lines.join(''))
}

interface State {
  readonly postgresVersion: string
  readonly urls: { readonly manager: string; readonly agent: string }
  readonly catalog: { readonly url: string; readonly passwordFile: string; readonly secretsKeyFile: string }
}

async function readState(dataDir: string): Promise<State | null> {
  const path = join(dataDir, 'cluster.json')
  if (!existsSync(path)) return null
  const state = JSON.parse(readFileSync(path, 'utf8')) as State
  const answer = await fetch(`${state.urls.manager}/api/v1/shards`).catch(() => null)
  const body = answer?.ok === true ? ((await answer.json()) as { shards: unknown[] }) : { shards: [] }
  return body.shards.length > 0 ? state : null
}

interface AgentServer {
  readonly id: string
  readonly group: string
  readonly database: string
  readonly port: number
}

/** The role of the cluster owns the databases; its password lies beside the group's others. */
function nodeUrl(dataDir: string, nodeId: string): string {
  const agent = JSON.parse(readFileSync(join(dataDir, 'agent.json'), 'utf8')) as { servers: AgentServer[] }
  const server = agent.servers.find(({ id }) => id === nodeId)
  if (server === undefined) throw new Error(`the cluster has no server ${nodeId}`)
  const password = readFileSync(join(dataDir, 'secrets', `${server.group}.app.password`), 'utf8').trim()
  return `postgres://app:${encodeURIComponent(password)}@127.0.0.1:${String(server.port)}/${server.database}`
}
