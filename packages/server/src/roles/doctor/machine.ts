// What the doctor checks of this machine: can a cluster run here?
import { join } from 'node:path'
import type { Clock } from '@fleetshard/core'
import { assertListening, defaultCacheDirs, resolveBinaries, resolveServerUser } from '../../agent/mod.ts'
import {
  blockedFolder,
  findPortHolder,
  flagOf,
  machineProbe,
  serverUser,
  silentLogger,
  type ClusterState,
  type Config,
} from '../../runtime/mod.ts'
import { listeningOf } from '../agent-servers.ts'
import { openTls } from '../certificates.ts'
import { serverProcesses } from '../running.ts'
import { UP_PORTS } from '../up/ports.ts'
import { checked, failed, passed, skipped, warned, type Check } from './check.ts'

const nodeTested = 24

/** What the checks look at. */
export interface MachineParts {
  readonly config: Config
  readonly dataDir: string
  readonly clock: Clock
  /** The cluster that runs there. */
  readonly state: ClusterState | null
}

/** All checks of the machine. */
export async function checkMachine(parts: MachineParts): Promise<readonly Check[]> {
  return [
    checkNode(),
    await checked('postgres', () => checkPostgres(parts)),
    checkDataDir(parts),
    await checked('ports', () => checkPorts(parts)),
    await checked('cluster', () => checkCluster(parts)),
    ...(isAgentOfFleet(parts) ? [await checked('agent servers', () => checkListening(parts))] : []),
  ]
}

/** Its servers are to be reached from other hosts: the settings say so, which are those of `fleetshard agent`. */
const isAgentOfFleet = ({ config }: MachineParts): boolean =>
  config.isGiven('agent.postgres-bind-host') || config.isGiven('agent.postgres-host')

/** Would an agent with these settings start its servers, and others connect to them? */
async function checkListening({ config, clock }: MachineParts): Promise<Check> {
  const tls = await openTls({ config, clock, log: silentLogger })
  const listening = listeningOf(config, tls)
  await assertListening(listening)
  const { address, host } = listening
  if (listening.tls === null) return passed('agent servers', `on ${address}, without TLS`)
  const demanded = listening.tls.clientCertificates === 'required' ? ' and a certificate' : ''
  return passed('agent servers', `on ${address}, reached at ${host} with TLS${demanded}`)
}

function checkNode(): Check {
  const { node } = process.versions
  if (Number.parseInt(node, 10) >= nodeTested) return passed('node', `${node} (${process.execPath})`)
  return warned(
    'node',
    `${node}; ${String(nodeTested)} is what is tested`,
    'run npm ci: it brings Node with it',
  )
}

async function checkPostgres({ config, dataDir, state }: MachineParts): Promise<Check> {
  if (state?.postgresVersion !== undefined)
    return passed('postgres', `${state.postgresVersion}, as the cluster runs it`)
  const found = await resolveBinaries({
    user: resolveServerUser(),
    cacheDirs: defaultCacheDirs(dataDir),
    explicit: config.get('pg-bin') ?? undefined,
  })
  return passed('postgres', `${found.version}, ${found.source} (${found.postgres})`)
}

function checkDataDir({ dataDir }: MachineParts): Check {
  const user = serverUser()
  const blocked = user === null ? null : blockedFolder(dataDir, user)
  if (blocked === null || user === null) return passed('data dir', dataDir)
  return failed(
    'data dir',
    `${dataDir}: the account ${user.name}, which runs Postgres, may not enter ${blocked}`,
    `choose another with --data-dir, or run chmod o+x ${blocked}`,
  )
}

/** Ports that a new cluster would take; those of the running one are its own. */
async function checkPorts({ config, state }: MachineParts): Promise<Check> {
  if (state !== null) return passed('ports', `${Object.values(state.ports).join(', ')} in use by the cluster`)
  const taken: string[] = []
  for (const key of UP_PORTS) {
    const port = config.get(key)
    if (port === 0 || (await machineProbe.isFree(config.get('bind-host'), port))) continue
    const holder = findPortHolder(port)
    taken.push(
      `${String(port)}${holder === null ? '' : ` (process ${String(holder.pid)}, ${holder.command})`}`,
    )
  }
  if (taken.length === 0) return passed('ports', 'all default ports are free')
  const remedy = `fleetshard up takes the next free ones; ${flagOf('router.http-port')} and the like choose`
  return warned('ports', `taken: ${taken.join(', ')}`, remedy)
}

async function checkCluster({ dataDir, state }: MachineParts): Promise<Check> {
  if (state !== null)
    return passed(
      'cluster',
      `process ${String(state.pid)} since ${state.startedAt}, version ${state.version}`,
    )
  const left = await serverProcesses(dataDir)
  if (left.length > 0)
    return failed(
      'cluster',
      `it has crashed and left ${String(left.length)} Postgres processes running in ${join(dataDir, 'servers')}`,
      'start it again with fleetshard up, or stop them with fleetshard down',
    )
  return skipped('cluster', `none runs on ${dataDir}; fleetshard up starts one`)
}
