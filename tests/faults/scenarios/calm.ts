// Nothing fails, and every core is busy: nobody may be declared dead, and no client refused.
import { observeAcknowledgements } from '../kit/acknowledgements.ts'
import { mixedLoad } from '../load/mixed.ts'
import { loadTables } from '../load/writers.ts'
import type { Activity, Scenario, World } from '../scenario.ts'
import { failoversOf, primaryOf, protect, untilWhole } from './availability/rounds.ts'

/** Who leads what, from the beginning on. */
const leadersOf = async ({ cluster }: World): Promise<string> =>
  JSON.stringify((await cluster.shards()).map((shard) => [shard.name, primaryOf(shard)]))

const watch: Activity = async (world) => {
  observeAcknowledgements(world)
  await protect(world)
  const before = await leadersOf(world)
  const { signal } = world
  if (!signal.aborted) {
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
  }
  const after = await leadersOf(world)
  if (after !== before) world.breach(`other servers lead: ${before} became ${after}`)
}

const noFailovers: Activity = async (world) => {
  for (const { id, name } of await world.cluster.shards()) {
    await untilWhole(world, id)
    for (const failover of (await failoversOf(world, id)).failovers) {
      world.breach(`${name} had a ${failover.type}: ${JSON.stringify(failover)}`)
    }
  }
}

/** The family `calm`. */
export const calmScenarios: readonly Scenario[] = [
  {
    name: 'full-load',
    what: 'no faults, as much load as the machine takes',
    cluster: { routers: 2, managers: 2, workers: 1, shards: 2, replicas: 2 },
    tables: loadTables,
    minutes: 60,
    silenceMsMax: 10_000,
    load: [mixedLoad({ keepers: 3, appenders: 2, movers: 1, readers: 2, mayBeRefused: () => false })],
    faults: [watch],
    expect: noFailovers,
  },
]
