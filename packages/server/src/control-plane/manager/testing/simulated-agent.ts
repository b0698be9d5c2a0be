// An agent that keeps its servers in memory and makes their databases in a simulated engine.
import { FleetError } from '@fleetshard/core'
import type { AgentClient, ServerView } from '../../../agent-api/mod.ts'
import type { Simulation } from './simulated-engine.ts'

/** The client, and what it made. */
export interface SimulatedAgent {
  readonly client: AgentClient
  readonly servers: Map<string, ServerView>
  /** Makes the next creations of servers of that kind fail. */
  failing: ServerView['kind'] | null
}

const password = 'made-by-the-agent'

/** An agent without servers. */
export function simulateAgent(simulation: Simulation): SimulatedAgent {
  const servers = new Map<string, ServerView>()
  const agent: SimulatedAgent = { client: undefined as unknown as AgentClient, servers, failing: null }
  const find = (id: string): ServerView => {
    const server = servers.get(id)
    if (server === undefined) throw new FleetError('not_found', `there is no server ${id}`)
    return server
  }
  const refuse = async (): Promise<never> => {
    throw new Error('not part of this simulation')
  }
  const client: AgentClient = {
    health: async () => ({ status: 'ok', servers: servers.size, running: servers.size }),
    list: async () => [...servers.values()],
    get: async (id) => find(id),
    create: async (order) => {
      if (agent.failing === order.kind) throw new FleetError('postgres_failed', 'initdb failed')
      const primary = order.of === undefined ? null : find(order.of)
      const port = 20_000 + servers.size
      const server: ServerView = {
        id: order.id,
        kind: order.kind,
        of: primary?.id ?? null,
        group: primary?.group ?? order.group ?? order.id,
        desired: 'running',
        state: 'running',
        pid: 1,
        host: '127.0.0.1',
        port,
        socket_dir: `/run/${order.id}`,
        database: primary?.database ?? order.database ?? 'app',
        user: 'fleetshard',
        postgres_major: 18,
        term: 0,
        detached: false,
        sync: null,
        restarts: 0,
        start_failures: 0,
        last_error: null,
      }
      servers.set(order.id, server)
      const database = simulation.database(`127.0.0.1:${String(port)}/${server.database}`)
      database.password = password
      if (primary !== null) {
        const upstream = simulation.database(`127.0.0.1:${String(primary.port)}/${primary.database}`)
        Object.assign(database, { inRecovery: true, systemId: upstream.systemId, upstream })
      }
      return server
    },
    drop: async (id) => void servers.delete(id),
    credentials: async (id) => {
      const { host, port, socket_dir, database, user } = find(id)
      return { host, port, socket_dir, database, user, password }
    },
    start: refuse,
    stop: refuse,
    fence: refuse,
    promote: refuse,
    follow: refuse,
    liveness: refuse,
    detach: refuse,
    quorum: refuse,
    rejoin: refuse,
    admit: refuse,
  }
  return Object.assign(agent, { client })
}
