// Embedded servers: those that agents run. Starts groups of them for new shards, finds those that no shard uses.
import { randomBytes } from 'node:crypto'
import { FleetError, type AgentRecord, isSameServer, type Endpoint } from '@fleetshard/core'
import type { AgentClient, ServerView } from '../../agent-api/mod.ts'
import type { Logger } from '../../runtime/mod.ts'
import type { SecretResolver } from '../../security/mod.ts'
import type { Fleet } from './fleet.ts'

/** A server and the agent that runs it. */
export interface AgentServer {
  readonly agent: AgentRecord
  readonly server: ServerView
}

/** What agents answered. */
export interface ServerSurvey {
  readonly servers: readonly AgentServer[]
  /** Ids of agents that did not answer. */
  readonly unreachable: readonly string[]
}

/** Embedded servers of all agents. */
export interface Servers {
  survey(signal: AbortSignal): Promise<ServerSurvey>
  /**
   * A fresh primary and its replicas, running, by the agent that is named or by any; the primary comes first.
   * @throws FleetError `agent_unavailable`, and the agent's own
   */
  startGroup(
    order: {
      readonly name: string
      readonly replicas: number
      readonly database?: string
      readonly agent?: string
    },
    signal: AbortSignal,
  ): Promise<readonly AgentServer[]>
  /**
   * A server that is to be a replica of another one: it has its place, and no data yet.
   * @param order.ofAgent the agent of that other one
   * @throws FleetError `agent_unavailable`, and the agent's own
   */
  beginReplica(
    order: {
      readonly agent: string
      readonly of: string
      readonly ofAgent: string
      readonly name: string
    },
    signal: AbortSignal,
  ): Promise<ServerView>
  /** The server that listens there, or null; agents that don't answer are passed over. */
  find(endpoint: Pick<Endpoint, 'host' | 'port'>, signal: AbortSignal): Promise<AgentServer | null>
  password(server: AgentServer, signal: AbortSignal): Promise<string>
  /** Stops and removes a server with its data. */
  drop(agent: string, id: string, signal: AbortSignal): Promise<void>
}

interface ServersParts {
  readonly log: Logger
  readonly fleet: Fleet
  readonly agent: (record: AgentRecord, token: string) => AgentClient
  readonly secrets: SecretResolver
}

/** Talks to the agents that are registered in the catalog at that moment. */
export function createServers(parts: ServersParts): Servers {
  const { fleet, log } = parts

  async function clientOf(record: AgentRecord, signal: AbortSignal): Promise<AgentClient> {
    return parts.agent(record, (await parts.secrets.resolve(record.tokenRef, signal)) ?? '')
  }

  async function listOf(record: AgentRecord, signal: AbortSignal): Promise<readonly ServerView[] | null> {
    try {
      return await (await clientOf(record, signal)).list(signal)
    } catch (error) {
      log.warn({ err: error, agent: record.id }, 'agent did not answer')
      return null
    }
  }

  async function survey(signal: AbortSignal): Promise<ServerSurvey> {
    const agents = [...fleet.state().agents.values()]
    const lists = await Promise.all(agents.map(async (agent) => listOf(agent, signal)))
    const servers: AgentServer[] = []
    const unreachable: string[] = []
    for (const [index, agent] of agents.entries()) {
      const list = lists[index]
      if (list === null || list === undefined) unreachable.push(agent.id)
      else servers.push(...list.map((server) => ({ agent, server })))
    }
    return { servers, unreachable }
  }

  function recordNamed(agent: string): AgentRecord {
    const { agents } = fleet.state()
    const record = agents.get(agent)
    if (record !== undefined) return record
    const known = [...agents.keys()].join(', ')
    throw new FleetError('agent_unavailable', `the agent ${agent} is not registered`, {
      hint: known === '' ? 'start fleetshard agent on its host' : `those that are: ${known}`,
    })
  }

  function anyAgent(): AgentRecord {
    const [record] = fleet.state().agents.values()
    if (record !== undefined) return record
    throw new FleetError('agent_unavailable', 'no agent is registered that could start a server', {
      hint: 'run under fleetshard up, start fleetshard agent, or give primary_endpoint',
    })
  }

  async function clientNamed(agent: string, signal: AbortSignal): Promise<AgentClient> {
    return clientOf(recordNamed(agent), signal)
  }

  async function drop(agent: string, id: string, signal: AbortSignal): Promise<void> {
    await (await clientNamed(agent, signal)).drop(id, signal)
  }

  return {
    survey,
    drop,
    async beginReplica({ agent, of, ofAgent, name }, signal) {
      const id = `${name.slice(0, 50)}-${randomBytes(3).toString('hex')}`
      const elsewhere = ofAgent === agent ? {} : { of_agent: ofAgent }
      const client = await clientNamed(agent, signal)
      return client.create({ id, kind: 'replica', of, ...elsewhere, begin: true }, signal)
    },
    async find(endpoint, signal) {
      const { servers } = await survey(signal)
      return servers.find(({ server }) => isServerAt(server, endpoint)) ?? null
    },
    async password({ agent, server }, signal) {
      return (await (await clientOf(agent, signal)).credentials(server.id, signal)).password
    },
    async startGroup(order, signal) {
      const agent = order.agent === undefined ? anyAgent() : recordNamed(order.agent)

      const group = await startOn(await clientOf(agent, signal), { ...order, log }, signal)
      return group.map((server) => ({ agent, server }))
    },
  }
}

async function startOn(
  client: AgentClient,
  order: {
    readonly name: string
    readonly replicas: number
    readonly database?: string
    readonly log: Logger
  },
  signal: AbortSignal,
): Promise<readonly ServerView[]> {
  const group = `${order.name.slice(0, 50)}-${randomBytes(3).toString('hex')}`
  try {
    const database = order.database === undefined ? {} : { database: order.database }
    const primary = await client.create({ id: `${group}-1`, kind: 'primary', group, ...database }, signal)
    const replicas = await Promise.all(
      Array.from({ length: order.replicas }, async (_, index) =>
        client.create({ id: `${group}-${String(index + 2)}`, kind: 'replica', of: primary.id }, signal),
      ),
    )
    return [primary, ...replicas]
  } catch (error) {
    await dropGroup(client, group, order.log)
    throw error
  }
}

function isServerAt(server: ServerView, endpoint: Pick<Endpoint, 'host' | 'port'>): boolean {
  return (
    isSameServer(server, endpoint) || isSameServer({ host: server.socket_dir, port: server.port }, endpoint)
  )
}

/** Best effort: what stays shows up as unassigned nodes, which can be deleted. */
async function dropGroup(client: AgentClient, group: string, log: Logger): Promise<void> {
  try {
    const made = (await client.list()).filter((server) => server.group === group)
    const replicasFirst = made.toSorted((a, b) => Number(a.kind === 'primary') - Number(b.kind === 'primary'))
    for (const server of replicasFirst) await client.drop(server.id)
  } catch (error) {
    log.warn({ err: error, group }, 'servers of a failed start are left over')
  }
}
