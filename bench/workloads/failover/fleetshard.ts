// The product in the bench of failovers: one shard with two replicas under quorum commit, written to through a router.
import { readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import type { FailoverList, Shard } from '@fleetshard/core/contract'
import { postgresProcessesOf } from '../../../packages/server/src/agent/mod.ts'
import { AgentServers } from '../../../tests/faults/kit/agent-servers.ts'
import { Links } from '../../../tests/faults/kit/links.ts'
import { startBenchCluster, type BenchCluster } from '../../harness/cluster.ts'
import { untilTrue, type Contestant, type Fault, type Strike } from './contestant.ts'

/** Connections are made anew through a link that was put in. */
const settleMs = 500

interface Parts {
  readonly cluster: BenchCluster
  readonly links: Links
  readonly servers: AgentServers
}

/** Starts it. */
export async function startFleetshard(): Promise<Contestant> {
  await using stack = new AsyncDisposableStack()
  const made: { links: Links | null } = { links: null }
  const cluster = stack.use(
    await startBenchCluster(1, {
      replicas: 2,
      environmentOf: (member, dataDir) => (made.links ??= new Links(dataDir)).environmentOf(member),
    }),
  )
  if (made.links === null) throw new Error('the processes were started without links')
  const links = stack.use(made.links)
  const agentPort = Number(new URL(cluster.agentUrl).port)
  const servers = stack.use(new AgentServers(cluster.dataDir, agentPort))
  const parts = { cluster, links, servers }
  await send(cluster, 'POST', '/api/v1/keyspaces/default/tables', {
    name: 'counter',
    key_column: 'key',
    ddl: 'create table counter (key text primary key, n bigint not null default 0)',
    wait_ms: 60_000,
  })
  await send(cluster, 'PATCH', '/api/v1/keyspaces/default', { durability: 'protection' })
  const owned = stack.move()
  return {
    name: 'fleetshard',
    target: { ports: [cluster.router.wirePort], user: 'app', database: 'default' },
    whole: () => untilTrue('the shard is whole', async () => isWhole(await look(cluster))),
    strike: (fault) => strike(parts, fault),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

interface Seen {
  readonly shard: Shard
  readonly found: FailoverList
}

async function look(cluster: BenchCluster): Promise<Seen> {
  const { shards } = await send<{ shards: Shard[] }>(cluster, 'GET', '/api/v1/shards')
  const [shard] = shards
  if (shard === undefined) throw new Error('there is no shard')
  return { shard, found: await send(cluster, 'GET', `/api/v1/shards/${shard.id}/failovers`) }
}

/** All its nodes are there, and the quorum is in force. */
function isWhole({ found }: Seen): boolean {
  const isOpen = found.failovers.some(({ status }) => status === 'pending' || status === 'running')
  const isQuorumSet = found.quorum?.required === 1 && !found.quorum.changing
  return !isOpen && isQuorumSet && found.primary !== null
}

async function strike(parts: Parts, fault: Fault): Promise<Strike> {
  const { cluster } = parts
  const { shard, found } = await look(cluster)
  const primary = found.primary ?? ''
  const done = await hurt(parts, { fault, shard, primary })
  return {
    ...done,
    isOver: async () => {
      const now = (await look(cluster)).found
      return ![primary, null].includes(now.primary) && now.failovers[0]?.from === primary
    },
  }
}

async function hurt(
  parts: Parts,
  { fault, shard, primary }: { readonly fault: Fault; readonly shard: Shard; readonly primary: string },
): Promise<Pick<Strike, 'atMs' | 'mend'>> {
  const { cluster } = parts
  const dataDir = join(cluster.dataDir, 'servers', primary, 'data')
  const nothing = (): void => undefined
  switch (fault) {
    case 'kill -9': {
      const pid = Number(readFileSync(join(dataDir, 'postmaster.pid'), 'utf8').split('\n')[0])
      // So that it cannot start again; it comes back as a new clone.
      renameSync(join(dataDir, 'global', 'pg_control'), join(dataDir, 'global', 'pg_control.gone'))
      process.kill(pid, 'SIGKILL')
      return { atMs: performance.now(), mend: nothing }
    }
    case 'SIGSTOP': {
      const pids = await postgresProcessesOf(dataDir)
      for (const pid of pids) process.kill(pid, 'SIGSTOP')
      return { atMs: performance.now(), mend: nothing }
    }
    case 'cut link':
      return cutOff(parts, shard, primary)
    case 'switchover': {
      const atMs = performance.now()
      await send(cluster, 'POST', `/api/v1/shards/${shard.id}/promote`, { reason: 'bench' })
      return { atMs, mend: nothing }
    }
  }
}

/**
 * The controller, the workers and both routers lose the primary, the controller its agent as far as that server goes,
 * and the replicas their stream. Nobody is told: bytes vanish.
 */
async function cutOff(
  { cluster, links, servers }: Parts,
  { nodes }: Shard,
  primary: string,
): Promise<Pick<Strike, 'atMs' | 'mend'>> {
  const port = nodes.find(({ id }) => id === primary)?.port ?? 0
  const replicas = nodes.flatMap(({ id }) => (id === primary ? [] : [id]))
  const tap = await servers.tap(primary)
  const cut = await Promise.all([
    ...replicas.map((replica) => tap.link(replica)),
    links.to('up', port),
    links.to('router', port),
  ])
  const gate = await links.gate('up', Number(new URL(cluster.agentUrl).port))
  for (const replica of replicas) await servers.reconnect(replica)
  await new Promise((resolve) => setTimeout(resolve, settleMs))
  for (const link of cut) link.hang()
  gate.hide(primary)
  return {
    atMs: performance.now(),
    mend: () => {
      links.heal()
      servers.heal()
    },
  }
}

async function send<T>(cluster: BenchCluster, method: string, path: string, body?: object): Promise<T> {
  const answer = await fetch(`${cluster.managerUrl}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  })
  if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`)
  return (await answer.json()) as T
}
