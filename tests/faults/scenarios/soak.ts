// Everything at once for as long as wanted: splits, merges and moves, switchovers, and kills of every kind of process and
// server, under writers. Invariants 1, 2, 3 and 5 of the architecture.
import { loadTables } from '../load/writers.ts'
import { mixedLoad } from '../load/mixed.ts'
import type { Activity, Scenario } from '../scenario.ts'
import {
  isPassing,
  isWhole,
  killForGood,
  othersOf,
  pause,
  primaryOf,
  protect,
  within,
} from './availability/rounds.ts'
import { awaitJobs, destroyer, isPassingInReshard, operator } from './reshard.ts'

const [pauseMsMin, pauseMsMax] = [5_000, 20_000]
const leadMsMax = 120_000

/** Primaries of shards with replicas step down or die for good, one after the other. */
const usurper: Activity = async (world) => {
  await protect(world)
  while (!world.signal.aborted) {
    await pause(pauseMsMin + world.random.below(pauseMsMax - pauseMsMin))
    const shards = (await world.cluster.shards()).filter((shard) => othersOf(shard).length >= 2)
    if (world.signal.aborted || shards.length === 0) continue
    const shard = world.random.pick(shards)
    if (world.random.chance(0.5)) {
      const path = `/api/v1/shards/${shard.id}/promote`
      const answer = await world.cluster.manager('POST', path, { reason: 'a soak' })
      world.count(answer.status === 202 ? 'switchovers' : 'switchovers refused')
      world.say(`switchover of ${shard.name}: ${String(answer.status)}`)
      continue
    }
    // Where its replicas are not back from an earlier fault nobody can lead without what only the primary has.
    if (!(await isWhole(world, shard.id).catch(() => false))) {
      world.count('primaries spared')
      continue
    }
    const old = primaryOf(shard)
    const mend = killForGood(world, old)
    world.count('kills')
    world.count('kills of a primary for good')
    world.say(`killed ${old} of ${shard.name} for good`)
    const leads = await within(leadMsMax, async () => {
      const now = (await world.cluster.shards()).find(({ id }) => id === shard.id)
      return world.signal.aborted || now === undefined || primaryOf(now) !== old
    })
    mend()
    if (!leads) world.breach(`nobody leads ${shard.name} instead of ${old}`)
  }
}

/** The family `soak`. */
export const soakScenarios: readonly Scenario[] = [
  {
    name: 'everything',
    what: 'reshards, switchovers and kills of everything, mixed',
    cluster: { routers: 2, managers: 2, workers: 2, shards: 2, replicas: 2 },
    tables: loadTables,
    minutes: 10,
    load: [
      mixedLoad({
        keepers: 2,
        appenders: 1,
        movers: 1,
        readers: 1,
        mayBeRefused: (reason) => isPassing(reason) || isPassingInReshard(reason),
      }),
    ],
    faults: [operator, destroyer, usurper],
    expect: awaitJobs,
  },
]
