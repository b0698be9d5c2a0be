// `fleetshard up`: a whole cluster on this machine, in this process or, with --detach, in one of its own behind it.
import { join } from 'node:path'
import { identifyProcess } from '../agent/mod.ts'
import { EXIT, say, type CommandContext, type ExitCode } from '../cli/mod.ts'
import {
  createLogging,
  dataDirOf,
  readClusterState,
  removeClusterState,
  systemClock,
  writeClusterState,
  type Config,
  type ClusterState,
} from '../runtime/mod.ts'
import { refuseOpenBind } from './loopback.ts'
import { accessNotice, dataDirWords, groupLines, headLine, processLines } from './up/banner.ts'
import { logFileOf, prepareDataDir } from './up/data-dir.ts'
import { startDetached } from './up/detach.ts'
import { catalogUrlOf, LocalFleet } from './up/local-fleet.ts'
import { UP_PORTS, urlOf } from './up/ports.ts'
import { runStart, tellReady } from './up/progress.ts'

/** Runs the cluster until a signal; with `--detach` starts one that goes on and returns. */
export async function runUp(context: CommandContext): Promise<ExitCode> {
  refuseOpenBind(context.config)
  if (context.options.isSet('detach')) {
    const begunMs = context.clock.monotonic()
    await startDetached(context)
    printDetached(context, context.clock.monotonic() - begunMs)
    return EXIT.ok
  }
  return runInFront(context)
}

async function runInFront(context: CommandContext): Promise<ExitCode> {
  const { config, env, version, stop, forced, cwd, clock } = context
  const begunMs = clock.monotonic()
  const dataDir = dataDirOf(config, cwd)
  prepareDataDir(dataDir)
  const logging = createLogging(config.get('log.level'), logFileOf(dataDir))
  await using fleet = new LocalFleet({
    config,
    env,
    dataDir,
    clock: systemClock,
    log: logging.log,
    logging,
    version,
    stop,
    forced,
  })
  await runStart(context, [
    (tell) => fleet.startServers(tell),
    () => fleet.startServices(),
    (tell) => fleet.fill(tell),
  ])
  const state = await stateOf(context, fleet, dataDir)
  writeClusterState(state)
  try {
    await tellReady()
    printBanner(context, { fleet, state, tookMs: clock.monotonic() - begunMs })
    sayWhenStopped(context)
    await fleet.ended
  } finally {
    removeClusterState(dataDir)
  }
  await fleet[Symbol.asyncDispose]()
  say(context, 'the cluster has stopped; its data is kept')
  return EXIT.ok
}

/** At once: statements that run may take their time to end. */
function sayWhenStopped(context: CommandContext): void {
  context.stop.addEventListener('abort', () => {
    say(context, 'stopping; once more to stop without waiting for statements')
  })
}

async function stateOf(context: CommandContext, fleet: LocalFleet, dataDir: string): Promise<ClusterState> {
  const { local } = fleet.servers
  const { config, http } = fleet.services
  const identity = await identifyProcess(process.pid)
  return {
    format: 1,
    pid: process.pid,
    ...(identity === null ? {} : { processStarted: identity.started }),
    startedAt: new Date(context.clock.now()).toISOString(),
    version: context.version,
    dataDir,
    auth: config.get('auth'),
    ...tlsOf(config),
    postgresVersion: local.postgresVersion,
    ports: Object.fromEntries(UP_PORTS.map((key) => [key, config.get(key)])),
    urls: {
      router: urlOf(config, 'router.http-port'),
      manager: urlOf(config, 'manager.http-port'),
      agent: http.url(),
      routerMetrics: urlOf(config, 'router.metrics-port'),
      managerMetrics: urlOf(config, 'manager.metrics-port'),
      workerMetrics: urlOf(config, 'worker.metrics-port'),
      agentMetrics: urlOf(config, 'agent.metrics-port'),
    },
    catalog: {
      url: catalogUrlOf(local),
      passwordFile: join((local.catalog().node.secretRef ?? 'file:').slice('file:'.length)),
      ...keyFileOf(config),
    },
  }
}

/** Where processes that join find the keys of secrets. */
function keyFileOf(config: Config): { readonly secretsKeyFile?: string } {
  const path = config.get('secrets.key-file')
  return path === null ? {} : { secretsKeyFile: path }
}

/** Where commands of this machine find what they need for TLS. */
function tlsOf(config: Config): Pick<ClusterState, 'tls'> {
  const [ca, certificate, key] = [config.get('tls.ca'), config.get('tls.cert'), config.get('tls.key')]
  return certificate === null || key === null ? {} : { tls: { ca, certificate, key } }
}

/** What the process in the background tells of itself, shorter than its own banner. */
function printDetached(context: CommandContext, tookMs: number): void {
  const state = readClusterState(dataDirOf(context.config, context.cwd))
  if (state === null) return
  const words = wordsFor(context)
  context.terminal.out(
    [
      headLine(state, tookMs, context.style),
      '',
      ...processLines(state),
      `  ${'data'.padEnd(10)} ${state.dataDir}`,
      '',
      ...accessNotice(context.config, state.dataDir).map((line) => context.style.yellow(line)),
      `It runs in the background. See it with fleetshard status${words}, stop it with fleetshard down${words}.`,
      '',
    ].join('\n'),
  )
}

function printBanner(
  context: CommandContext,
  {
    fleet,
    state,
    tookMs,
  }: { readonly fleet: LocalFleet; readonly state: ClusterState; readonly tookMs: number },
): void {
  const { local } = fleet.servers
  const { style, terminal } = context
  const addressOf = ({ host, port }: { host: string; port: number }): string => `${host}:${String(port)}`
  const groups = local.groups().map(({ name, primary, replicas }) => ({
    name,
    primary: addressOf(primary.node),
    replicas: replicas.map(({ node }) => addressOf(node)),
  }))
  const words = wordsFor(context)
  terminal.out(
    [
      headLine(state, tookMs, style),
      '',
      ...processLines(state),
      ...groupLines(groups),
      `  ${'catalog'.padEnd(10)} ${addressOf(local.catalog().node)}`,
      `  ${'data'.padEnd(10)} ${state.dataDir}`,
      ...fleet.services.notes.map((note) => `  note: ${note}`),
      '',
      ...accessNotice(context.config, state.dataDir).map((line) => style.yellow(line)),
      `See it with fleetshard status${words}. Stop it with Ctrl-C, or fleetshard down${words}.`,
      '',
    ].join('\n'),
  )
}

/** What commands of the user must add to find this cluster. */
function wordsFor({ config, cwd }: CommandContext): string {
  return dataDirWords(dataDirOf(config, cwd), dataDirOf(config.with({ 'data-dir': null }), cwd))
}
