// `status`: the fleet on one screen. The exit code is `unhealthy` when a server or a shard does not serve.
import { toFleetError } from '@fleetshard/core'
import type { Keyspace, Shard } from '@fleetshard/core/contract'
import type { CommandContext } from '../context.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { formatDetails, renderList, toJson, toYaml } from '../output/mod.ts'
import { say } from '../print.ts'
import { outputFlag, watchFlag, type CommandSpec } from '../spec.ts'
import { keyspaceView, shardView } from '../views.ts'
import { printOrWatch } from '../watch.ts'

/** A server, and in a word how it is. */
interface ServerStatus {
  readonly url: string
  readonly status: string
  readonly healthy: boolean
  readonly why: string | null
}

/** All that `status` shows; JSON leaves out the tokens and ranges of the shards. */
interface FleetStatus {
  readonly healthy: boolean
  readonly local_cluster: {
    readonly pid: number
    readonly data_dir: string
    readonly started_at: string
  } | null
  readonly router: ServerStatus
  readonly manager: ServerStatus
  readonly keyspaces: readonly Keyspace[]
  readonly shards: readonly Shard[]
}

/** `fleetshard status`. */
export const status: CommandSpec = {
  path: 'status',
  permission: 'view',
  summary: 'show the router, the manager, the keyspaces and the shards',
  details:
    'The exit code is 7 when the router or the manager is not ready, or a shard that owns ranges does not serve.',
  user: 'cli',
  flags: [outputFlag, watchFlag],
  run: (call) =>
    printOrWatch(call, async (context) => {
      const found = await fleetStatus(context)
      print(context, found)
      if (found.router.status === 'unreachable' && found.manager.status === 'unreachable') {
        say(context, 'hint: fleetshard up starts a cluster on this machine')
      }
      return found.healthy ? EXIT.ok : EXIT.unhealthy
    }),
}

async function fleetStatus(context: CommandContext): Promise<FleetStatus> {
  const [router, manager] = await Promise.all([routerStatus(context), managerStatus(context)])
  const known = manager.status === 'unreachable' ? { keyspaces: [], shards: [] } : await records(context)
  const { cluster } = context
  return {
    healthy: router.healthy && manager.healthy && known.shards.every(serves),
    local_cluster:
      cluster === null
        ? null
        : { pid: cluster.pid, data_dir: cluster.dataDir, started_at: cluster.startedAt },
    router,
    manager,
    ...known,
  }
}

async function records({ admin, stop }: CommandContext): Promise<Pick<FleetStatus, 'keyspaces' | 'shards'>> {
  const [{ keyspaces }, { shards }] = await Promise.all([
    admin.keyspaces.list({ signal: stop }),
    admin.shards.list({}, { signal: stop }),
  ])
  return { keyspaces, shards }
}

function serves(shard: Pick<Shard, 'status' | 'vnode_count'>): boolean {
  return shard.status !== 'inactive' || shard.vnode_count === 0
}

async function managerStatus({ admin, managerUrl: url, stop }: CommandContext): Promise<ServerStatus> {
  try {
    const ready = await admin.ready({ signal: stop })
    const why = ready.status === 'stale' ? 'the catalog does not answer' : null
    return { url, status: ready.status, healthy: ready.status === 'ready', why }
  } catch (error) {
    if (stop.aborted) throw error
    return unreachable(url, error)
  }
}

async function routerStatus({ router, routerUrl: url, stop }: CommandContext): Promise<ServerStatus> {
  try {
    const { ok, facts } = await router.ready()
    const told = facts['status']
    const detail = facts['detail']
    return {
      url,
      status: typeof told === 'string' ? told : ok ? 'ready' : 'not ready',
      healthy: ok,
      why: typeof detail === 'string' ? detail : null,
    }
  } catch (error) {
    if (stop.aborted) throw error
    return unreachable(url, error)
  }
}

function unreachable(url: string, error: unknown): ServerStatus {
  return { url, status: 'unreachable', healthy: false, why: toFleetError(error).message }
}

function print(context: CommandContext, found: FleetStatus): ExitCode {
  const { terminal, output, style } = context
  if (output === 'json' || output === 'yaml') {
    terminal.out(output === 'json' ? toJson(summary(found)) : toYaml(summary(found)))
    return EXIT.ok
  }
  if (output === 'name') {
    for (const shard of found.shards) terminal.out(`${shardView.name(shard)}\n`)
    return EXIT.ok
  }
  const server = (each: ServerStatus): string => {
    const word = (each.healthy ? style.green : style.red)(each.status)
    return `${word}  ${each.url}${each.why === null ? '' : `  ${style.dim(each.why)}`}`
  }
  const cluster = found.local_cluster
  terminal.out(
    formatDetails(
      [
        ['router', server(found.router)],
        ['manager', server(found.manager)],
        ...(cluster === null
          ? []
          : [['local cluster', `${cluster.data_dir} (process ${String(cluster.pid)})`] as const]),
      ],
      style,
    ),
  )
  const layout = { style, cells: terminal.columns() }
  if (found.keyspaces.length > 0)
    terminal.out(`\n${renderList(found.keyspaces, keyspaceView, output, layout)}`)
  if (found.shards.length > 0) terminal.out(`\n${renderList(found.shards, shardView, output, layout)}`)
  return EXIT.ok
}

/** For programs: 256 tokens a shard say nothing to whoever asks for the status. */
function summary(found: FleetStatus): unknown {
  const shards = found.shards.map((shard) =>
    Object.fromEntries(Object.entries(shard).filter(([name]) => name !== 'vnodes' && name !== 'ranges')),
  )
  return { ...found, shards }
}
