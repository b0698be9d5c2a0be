// What `up` and `quickstart` say once the cluster is ready: what runs where, who may use it, how to stop.
import { isLoopback } from '../loopback.ts'
import { adminTokenPath, type ClusterState, type Config } from '../../runtime/mod.ts'
import type { Style } from '../../cli/mod.ts'

/** A node group as the banner shows it. */
export interface ShownGroup {
  readonly name: string
  readonly primary: string
  readonly replicas: readonly string[]
}

/** Lines about the node groups; a cluster of many shards is told in numbers. */
const groupLinesMax = 6

/** `primary 127.0.0.1:15433, replicas 127.0.0.1:15434 …` for each group. */
export function groupLines(groups: readonly ShownGroup[]): readonly string[] {
  const lines = groups.slice(0, groupLinesMax).map(({ name, primary, replicas }) => {
    const copies =
      replicas.length === 0 ? '' : `  ${plural(replicas.length, 'replica')} ${replicas.join(' ')}`
    return `  ${name.padEnd(10)} primary ${primary}${copies}`
  })
  const more = groups.length - groupLinesMax
  return more > 0 ? [...lines, `  … and ${String(more)} more`] : lines
}

/** Where the processes listen. */
export function processLines({ urls, ports, auth }: ClusterState): readonly string[] {
  const metrics = (url: string | undefined): string => (url === undefined ? '' : `metrics ${url}/metrics`)
  const line = (name: string, url: string, rest: string): string =>
    `  ${name.padEnd(10)} ${url.padEnd(23)}  ${rest}`.trimEnd()
  const wirePort = ports['router.wire-port']
  const host = new URL(urls.router).hostname.replaceAll(/[[\]]/g, '')
  return [
    line('router', urls.router, metrics(urls.routerMetrics)),
    ...(wirePort === undefined
      ? []
      : [
          `  ${'postgres'.padEnd(10)} psql -h ${host} -p ${String(wirePort)}${auth === 'required' ? ' -U token' : ''} default`,
        ]),
    line('manager', urls.manager, metrics(urls.managerMetrics)),
    // One line for both, of 100 columns: the quickstart's screen has none to spare.
    line(
      'agent',
      urls.agent ?? '',
      `metrics ${urls.agentMetrics ?? ''} · worker ${urls.workerMetrics ?? ''}`,
    ),
  ]
}

/** What one may know of the machine: versions and how long the start took. */
export function headLine(state: ClusterState, tookMs: number, style: Style): string {
  const seconds = (tookMs / 1000).toFixed(1)
  const versions = `Node ${process.versions.node} · PostgreSQL ${state.postgresVersion ?? 'unknown'}`
  return `${style.bold(`FleetShard ${state.version}`)} is running · ${versions} · ready in ${seconds} s`
}

/** Who may use the cluster, and where its operator's token is. */
export function accessNotice(config: Config, dataDir: string): readonly string[] {
  const token = `The operator's token is in ${adminTokenPath(dataDir)} (mode 0600); fleetshard finds it by itself.`
  if (config.get('auth') === 'required') return ['Whoever uses it must send a token.', token]
  const host = config.get('bind-host')
  const who = isLoopback(host) ? 'every account of this machine' : `everybody who reaches ${host}`
  return [`Open to ${who}: nobody is asked who he is; --auth required changes that.`, token]
}

/** The words behind `fleetshard` that name the cluster, where it is not the usual one of this folder. */
export function dataDirWords(dataDir: string, usual: string): string {
  return dataDir === usual ? '' : ` --data-dir ${quoted(dataDir)}`
}

function quoted(path: string): string {
  return /^[\w./@:-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`
}

function plural(count: number, word: string): string {
  return count === 1 ? word : `${word}s`
}
