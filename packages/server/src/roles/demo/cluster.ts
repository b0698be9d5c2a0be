// The cluster that the demo plays on: fresh, in a temporary directory that is removed with it.
import { chmodSync, mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAdminClient } from '@fleetshard/client/admin'
import { buildShardMap, FleetError, isFleetError, parseKeyspaceName, type ShardMap } from '@fleetshard/core'
import { createRouterClient, type CommandContext } from '../../cli/mod.ts'
import {
  blockedFolder,
  createLogging,
  readAdminToken,
  serverUser,
  systemClock,
  type Logging,
  type Config,
} from '../../runtime/mod.ts'
import { urlHost } from '../loopback.ts'
import { serverProcesses } from '../running.ts'
import { schemeOf } from '../certificates.ts'
import { LocalFleet } from '../up/local-fleet.ts'
import { logFileOf } from '../up/data-dir.ts'
import type { Stage } from './act.ts'
import type { DataSet } from './data-set.ts'

const keyspace = 'default'
const requestMsMax = 60_000
/** For the job that makes a table, and for the router to hear of it. */
const tablesMsMax = 60_000
const pollMs = 20
const stepsOnTerminal = 100
const stepsElsewhere = 4
const removalsMax = 5
const drainMs = 1_000

/** A running cluster. Disposing stops all of it and removes its directory, whatever was going on. */
export class DemoCluster implements AsyncDisposable {
  readonly folder: string
  readonly #context: CommandContext
  readonly #fleet: LocalFleet
  readonly #end = new AbortController()
  readonly #stop: AbortSignal

  constructor(context: CommandContext, folder: string, logging: Logging) {
    this.#context = context
    this.folder = folder
    const { env, version, forced } = context
    // Nobody waits for what was begun: its rows are about to be removed.
    const config = context.config.with({ 'drain-ms': drainMs })
    this.#stop = AbortSignal.any([context.stop, this.#end.signal])
    const own = { dataDir: folder, clock: systemClock, stop: this.#stop }
    this.#fleet = new LocalFleet({ config, env, log: logging.log, logging, version, forced, ...own })
  }

  /** Starts servers, manager, router and worker. @throws FleetError of whatever keeps them from starting */
  async start(say: (text: string) => void): Promise<void> {
    await this.#fleet.startServers(say)
    say('manager, router and worker')
    await this.#fleet.startServices()
    await this.#fleet.fill(say)
    // A part that fails on its own ends the acts; after a stop there is nothing to tell.
    this.#fleet.ended.catch((error: unknown) => {
      this.#end.abort(error)
    })
  }

  /** Full version of the servers. */
  get postgresVersion(): string {
    return this.#fleet.servers.local.postgresVersion
  }

  /** How many servers run, the catalog's included. */
  get serverCount(): number {
    return this.#fleet.servers.local.agent.list().length
  }

  /** What acts work with, once it is started. */
  stage(dataSets: readonly DataSet[]): Stage {
    const { config, clock, fetch, terminal } = this.#context
    const { servers, services } = this.#fleet
    const { local, open } = servers
    const port = String(services.config.get('router.http-port'))
    const routerUrl = `${schemeOf(config)}://${urlHost(config.get('bind-host'))}:${port}`
    const signal = this.#stop
    const token = readAdminToken(this.folder)
    const reach = { timeoutMs: requestMsMax, fetch }
    return {
      clock,
      signal,
      keyspace,
      dataSets,
      admin: createAdminClient({ url: services.managerUrl, ...reach, ...(token === null ? {} : { token }) }),
      router: createRouterClient({ url: routerUrl, token, signal, ...reach }),
      routerUrl,
      tls: tlsOf(config),
      token,
      agent: local.agent,
      catalogServer: local.catalog().node.id,
      replicas: config.get('up.replicas'),
      progressSteps: terminal.drawing === null ? stepsElsewhere : stepsOnTerminal,
      async map(): Promise<ShardMap> {
        const stored = await open.catalog.keyspaces.read(parseKeyspaceName(keyspace), signal)
        if (stored === null) throw new FleetError('not_found', `there is no keyspace ${keyspace}`)
        return buildShardMap(stored.snapshot)
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort()
    try {
      await this.#fleet[Symbol.asyncDispose]()
      const left = await serverProcesses(this.folder)
      if (left.length > 0) throw new FleetError('internal', `servers still run: ${left.join(', ')}`)
    } finally {
      await rm(this.folder, { recursive: true, force: true, maxRetries: removalsMax })
    }
  }
}

/** A cluster with its directory; nothing runs yet. */
export function makeDemoCluster(context: CommandContext): DemoCluster {
  const folder = makeFolder()
  return new DemoCluster(context, folder, createLogging(context.config.get('log.level'), logFileOf(folder)))
}

/** A directory that the account of the servers can reach. */
function makeFolder(): string {
  const user = serverUser()
  const base = user !== null && blockedFolder(tmpdir(), user) !== null ? '/tmp' : tmpdir()
  const folder = mkdtempSync(join(base, 'fleetshard-demo-'))
  chmodSync(folder, 0o755)
  return folder
}

/** Declares the tables of the data sets, creates them on every shard, and waits until the router knows them. */
export async function declareTables(stage: Stage): Promise<void> {
  const { admin, clock, dataSets, router, signal } = stage
  for (const { table, columns, ddl } of dataSets) {
    const tables = [{ name: table, kind: 'sharded' as const, key_column: columns[0] }]
    const { job } = await admin.tables.create(keyspace, { tables, ddl, wait_ms: tablesMsMax }, { signal })
    if (job !== null && job.status !== 'completed')
      throw new FleetError('deadline_exceeded', `the table ${table} was not created in time`)
  }
  const untilMs = clock.monotonic() + tablesMsMax
  for (const { table, rows } of dataSets) {
    while (!(await knows(router, table, rows[0]?.[0] ?? '1'))) {
      if (clock.monotonic() > untilMs)
        throw new FleetError('deadline_exceeded', `the router has not heard of the table ${table}`)
      await clock.sleep(pollMs, signal)
    }
  }
}

async function knows(router: Stage['router'], table: string, key: string): Promise<boolean> {
  try {
    await router.shardForKey(key, keyspace, table)
    return true
  } catch (error) {
    if (isFleetError(error, 'not_found')) return false
    throw error
  }
}

function tlsOf(config: Config): Stage['tls'] {
  const [ca, cert, key] = [config.get('tls.ca'), config.get('tls.cert'), config.get('tls.key')]
  if (cert === null || key === null) return null
  return { cert, key, ...(ca === null ? {} : { ca }) }
}
