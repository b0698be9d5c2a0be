// The metrics of an agent: its servers, and the disk that they lie on.
import { statfsSync } from 'node:fs'
import type { Agent } from '../agent/mod.ts'
import { AGENT_METRICS as TABLE, type Metrics } from '../runtime/mod.ts'

/** What is told of. */
export interface AgentMetricsParts {
  readonly agent: Pick<Agent, 'list' | 'dataDir'>
  readonly isRegistered: () => boolean
}

/** Registers them; once a registry. */
export function observeAgent(metrics: Metrics, { agent, isRegistered }: AgentMetricsParts): void {
  metrics.observedGauge(TABLE.agent_registered, () => [{ labels: [], value: isRegistered() ? 1 : 0 }])
  metrics.observedGauge(TABLE.agent_servers, () => {
    const counts = new Map<string, number>()
    for (const { state } of agent.list()) counts.set(state, (counts.get(state) ?? 0) + 1)
    return Array.from(counts, ([state, value]) => ({ labels: [state], value }))
  })
  metrics.observedGauge(TABLE.agent_server_running, () =>
    agent.list().map(({ id, kind, state }) => ({ labels: [id, kind], value: state === 'running' ? 1 : 0 })),
  )
  metrics.observedCounter(TABLE.agent_server_restarts_total, () =>
    agent.list().map(({ id, restarts }) => ({ labels: [id], value: restarts })),
  )
  const disk = (read: (found: ReturnType<typeof statfsSync>) => number) => () => {
    try {
      return [{ labels: [] as const, value: read(statfsSync(agent.dataDir)) }]
    } catch {
      return [] // a folder that is gone has no size, and the other metrics are still wanted
    }
  }
  metrics.observedGauge(
    TABLE.agent_disk_size_bytes,
    disk(({ blocks, bsize }) => Number(blocks) * Number(bsize)),
  )
  metrics.observedGauge(
    TABLE.agent_disk_free_bytes,
    disk(({ bavail, bsize }) => Number(bavail) * Number(bsize)),
  )
}
