// What the doctor checks of a running fleet: its processes, and every server of every shard.
import { readFileSync } from 'node:fs'
import { parseLsn, type Clock, type Durability, type NodeRecord, type ShardRecord } from '@fleetshard/core'
import { formatBytes, silentLogger, type ClusterState } from '../../runtime/mod.ts'
import type { CommandContext } from '../../cli/mod.ts'
import { limitsOf } from '../../control-plane/health/mod.ts'
import { createEngine, type NodeFacts } from '../../engine/mod.ts'
import { openTls } from '../certificates.ts'
import { openCatalog, type OpenCatalog } from '../catalog.ts'
import { targetOf } from '../node-target.ts'
import { checked, failed, passed, skipped, warned, type Check } from './check.ts'

const probeMsMax = 5_000
const nodeMsMax = 5_000
/** A replica that has not replayed more than that is behind. */
const lagBytesMax = 16n * 1024n * 1024n

/** All checks of the processes and, where the catalog can be read, of the shards. */
export async function checkFleet(
  context: CommandContext,
  state: ClusterState | null,
): Promise<readonly Check[]> {
  const processes = await Promise.all([
    checked('manager', () => checkManager(context)),
    checked('router', () => checkRouter(context)),
    checkProbe(context, 'worker', state?.urls.workerMetrics),
    checkProbe(context, 'agent', state?.urls.agent),
  ])
  const reached = state?.catalog
  if (reached === undefined)
    return [...processes, skipped('shards', 'their servers can be looked at where the cluster runs')]
  const tls = await openTls({ config: context.config, clock: context.clock, log: silentLogger })
  await using open = openCatalog({
    tls,
    config: context.config.with({
      'catalog.url': reached.url,
      'catalog.password': passwordOf(reached.passwordFile),
      'catalog.timeout-ms': nodeMsMax,
      'secrets.key-file': context.config.get('secrets.key-file') ?? reached.secretsKeyFile ?? null,
    }),
    env: context.env,
    clock: context.clock,
    log: silentLogger,
    role: 'doctor',
  })
  return [...processes, ...(await checkCatalog(context, open, reached.url))]
}

function passwordOf(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return null
  }
}

async function checkManager({ admin, managerUrl, stop }: CommandContext): Promise<Check> {
  const { status, leader_url: leader } = await admin.ready({ signal: stop, timeoutMs: probeMsMax })
  if (status === 'ready' && leader !== null) return passed('manager', `${managerUrl}, leader ${leader}`)
  if (status === 'ready')
    return warned('manager', `${managerUrl}: no manager leads yet`, 'wait 10 s: an election follows a crash')
  return failed('manager', `${managerUrl} is ${status}`, 'bring the catalog back; see fleetshard.log')
}

async function checkRouter({ router, routerUrl }: CommandContext): Promise<Check> {
  const { ok, facts } = await router.ready()
  const [told, age] = [facts['status'], facts['map_age_ms']]
  const status = typeof told === 'string' ? told : 'not ready'
  if (!ok) return failed('router', `${routerUrl} is ${status}`, 'see fleetshard.log in the data directory')
  if (status === 'ready') return passed('router', routerUrl)
  const detail = `${routerUrl} works with a map that is ${String(Math.round(Number(age) / 1000))} s old`
  return warned('router', detail, 'bring the catalog back')
}

async function checkProbe(context: CommandContext, name: string, url: string | undefined): Promise<Check> {
  if (url === undefined) return skipped(name, 'known only where the cluster runs')
  const signal = AbortSignal.any([context.stop, AbortSignal.timeout(probeMsMax)])
  try {
    const response = await context.fetch(new URL('/health', url), { signal })
    await response.arrayBuffer()
    if (response.ok) return passed(name, url)
    return failed(
      name,
      `${url} answers ${String(response.status)}`,
      'see fleetshard.log in the data directory',
    )
  } catch {
    return failed(name, `${url} does not answer`, 'stop the cluster with fleetshard down, then fleetshard up')
  }
}

async function checkCatalog(
  { clock, stop }: CommandContext,
  open: OpenCatalog,
  url: string,
): Promise<readonly Check[]> {
  const signal = AbortSignal.any([stop, AbortSignal.timeout(nodeMsMax)])
  const shards: { readonly shard: ShardRecord; readonly durability: Durability | undefined }[] = []
  const check = await checked('catalog', async () => {
    const { id } = await open.catalog.cluster(signal)
    for (const { record } of await open.catalog.keyspaces.list(signal)) {
      for (const shard of await open.catalog.shards.list(record.name, signal)) {
        shards.push({ shard: shard.record, durability: record.durability })
      }
    }
    return passed('catalog', `${url}, cluster ${id}`)
  })
  const found = await Promise.all(
    shards.map(async ({ shard, durability }) => [
      ...(await checkShard(shard, { open, clock, stop })),
      ...checkFailover(shard, durability),
    ]),
  )
  return [check, ...found.flat()]
}

interface ShardParts {
  readonly open: OpenCatalog
  readonly clock: Clock
  readonly stop: AbortSignal
}

/** What would not be done if a server of the shard died; nothing where everything would. */
function checkFailover(shard: ShardRecord, durability: Durability | undefined): readonly Check[] {
  const limits = limitsOf(shard, durability)
  if (limits.length === 0) return []
  const remedy = 'have agents run its servers, and two replicas: docs/guides/availability.md'
  return [warned(`${shard.name} failover`, limits.join('; '), remedy)]
}

/** A check for each server of the shard. */
async function checkShard(shard: ShardRecord, parts: ShardParts): Promise<readonly Check[]> {
  const primary = shard.nodes.find(({ role }) => role === 'primary')
  const position =
    primary === undefined
      ? null
      : await inspect(primary, parts).then(
          ({ position }) => position,
          () => null,
        )
  return Promise.all(
    shard.nodes.map((node) =>
      checked(`${shard.name} ${node.role}`, async () => {
        const facts = await inspect(node, parts)
        return identityFault(shard, node, facts) ?? roleFault(shard, node, facts, position)
      }),
    ),
  )
}

async function inspect(node: NodeRecord, { open, clock, stop }: ShardParts): Promise<NodeFacts> {
  const target = await targetOf(open, node, stop)
  return createEngine('postgres', { clock }).inspectNode(target, { signal: stop, timeoutMs: nodeMsMax })
}

function identityFault(shard: ShardRecord, node: NodeRecord, { identity }: NodeFacts): Check | null {
  if (identity?.shard === shard.id && identity.keyspace === shard.keyspace) return null
  const name = `${shard.name} ${node.role}`
  const whose = identity === null ? 'nobody' : `shard ${identity.shard} of keyspace ${identity.keyspace}`
  return failed(name, `the database at ${at(node)} belongs to ${whose}`, 'correct the endpoint of the node')
}

function roleFault(
  shard: ShardRecord,
  node: NodeRecord,
  facts: NodeFacts,
  primaryPosition: string | null,
): Check {
  const name = `${shard.name} ${node.role}`
  const where = `${at(node)}, ${facts.version}${node.tls === 'disable' ? '' : `, TLS ${node.tls}`}`
  if (node.role === 'primary') {
    if (!facts.inRecovery && !facts.readOnly) return passed(name, where)
    return failed(name, `${where} takes no writes`, 'look at the log of the server')
  }
  if (!facts.inRecovery)
    return failed(name, `${where} is no replica any more`, 'take it out: fleetshard shard update')
  if (facts.upstream === null)
    return failed(name, `${where} does not follow its primary`, 'look at the log of the server')
  const lag = lagOf(facts.position, primaryPosition)
  if (lag !== null && lag > lagBytesMax)
    return warned(
      name,
      `${where} is ${formatBytes(Number(lag))} behind`,
      'wait, or look at the load of the server',
    )
  return passed(name, `${where}, streaming${lag === null ? '' : `, ${formatBytes(Number(lag))} behind`}`)
}

/** Bytes of log that the replica has not replayed; null where it can't be told. */
function lagOf(replica: string | null, primary: string | null): bigint | null {
  if (replica === null || primary === null) return null
  const lag = parseLsn(primary) - parseLsn(replica)
  return lag > 0n ? lag : 0n
}

const at = ({ host, port }: NodeRecord): string => `${host}:${String(port)}`
