// What the scenarios of availability share: rounds of faults on one shard, and what has to be true between them and at
// their end.
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import type { Failover, FailoverList, Shard } from '@fleetshard/core/contract'
import { observeAcknowledgements } from '../../kit/acknowledgements.ts'
import type { FaultClusterOptions } from '../../kit/cluster.ts'
import { mixedLoad, type MixedLoad } from '../../load/mixed.ts'
import { loadTables } from '../../load/writers.ts'
import type { Activity, Scenario, World } from '../../scenario.ts'

const pollMs = 50
/** Within which somebody must lead, and within which all must be whole again, on a busy machine. */
const leadMsMax = 60_000
const wholeMsMax = 120_000

/** Resolves after that time. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Id of the node that leads the shard by the map; empty when none does. */
export const primaryOf = ({ nodes }: Shard): string => nodes.find(({ role }) => role === 'primary')?.id ?? ''
/** Ids of its other nodes. */
export const othersOf = ({ nodes }: Shard): readonly string[] =>
  nodes.filter(({ role }) => role !== 'primary').map(({ id }) => id)

/** `either`: whatever is quicker, a restart or a failover. */
export type Expectation = 'another leads' | 'the same leads' | 'either'
/** What a fault leaves to be mended once another leads. */
export type Mend = () => Promise<void> | void
/** Breaks the primary of a shard. */
export type Fault = (world: World, shard: Shard, primary: string) => Promise<Mend>

/** Nothing is left to be mended. */
export const nothing: Mend = () => undefined

/** The failovers of a shard, the newest first, and its quorum. */
export async function failoversOf(world: World, shard: string): Promise<FailoverList> {
  return (await world.cluster.manager<FailoverList>('GET', `/api/v1/shards/${shard}/failovers`)).body
}

/** The shard as it is now. @throws Error when it is gone */
export async function shardNow(world: World, id: string): Promise<Shard> {
  const found = (await world.cluster.shards()).find((shard) => shard.id === id)
  if (found === undefined) throw new Error(`there is no shard ${id}`)
  return found
}

/** False when the condition is not met in time. Managers may be dead meanwhile. */
export async function within(
  ms: number,
  condition: () => Promise<boolean>,
  everyMs = pollMs,
): Promise<boolean> {
  const deadline = performance.now() + ms
  while (performance.now() < deadline) {
    if (await condition().catch(() => false)) return true
    await pause(everyMs)
  }
  return false
}

/** One primary, replicas that stream from it, the quorum in force, and no failover on its way. */
export async function isWhole(world: World, id: string): Promise<boolean> {
  const shard = await shardNow(world, id)
  const { failovers, quorum, durability } = await failoversOf(world, id)
  const isOpen = failovers.some(({ status }) => status === 'pending' || status === 'running')
  const roles = shard.nodes.map(({ role }) => role)
  const isQuorate = durability === 'performance' || (quorum?.required === 1 && !quorum.changing)
  return (
    !isOpen &&
    roles.filter((role) => role === 'primary').length === 1 &&
    !roles.includes('standby') &&
    isQuorate &&
    (await streaming(world, shard)) === shard.nodes.length - 1
  )
}

async function streaming(world: World, shard: Shard): Promise<number> {
  const client = await world.cluster.connectTo(shard)
  try {
    const { rows } = await client.query<{ name: string }>(
      "select application_name as name from pg_stat_replication where state = 'streaming'",
    )
    return othersOf(shard).filter((id) => rows.some(({ name }) => name === id)).length
  } finally {
    await client.end()
  }
}

/** Waits until the shard is whole; a breach when it does not become so. */
export async function untilWhole(world: World, shard: string): Promise<boolean> {
  if (await within(wholeMsMax, () => isWhole(world, shard))) return true
  const { failovers } = await failoversOf(world, shard)
  world.breach(`shard ${shard} does not become whole: ${JSON.stringify(failovers[0])}`)
  return false
}

/** Sets what a failover may cost. */
async function setDurability(world: World, durability: string): Promise<void> {
  const answer = await world.cluster.manager('PATCH', '/api/v1/keyspaces/default', { durability })
  if (answer.status !== 200) world.breach(`${durability} was refused: ${JSON.stringify(answer.body)}`)
}

/** Under `protection` nothing may be lost, whatever dies. */
export const protect = (world: World): Promise<void> => setDurability(world, 'protection')

/** Rounds of a fault, each begun when the one before is over and all is whole. */
export function again(
  fault: Fault,
  expectation: Expectation = 'another leads',
  durability: 'protection' | 'performance' = 'protection',
): Activity {
  return async (world) => {
    observeAcknowledgements(world)
    await setDurability(world, durability)
    // Every way to the cluster is open by then.
    await within(leadMsMax, () => Promise.resolve(world.signal.aborted || world.ledger.acknowledged > 200))
    for (let round = 0; round < world.rounds && !world.signal.aborted; round += 1) {
      const { id } = world.random.pick(await world.cluster.shards())
      if (!(await untilWhole(world, id))) return
      await pause(500 + world.random.below(1_500))
      if (world.signal.aborted) return
      await once(world, await shardNow(world, id), { fault, expectation })
    }
  }
}

async function once(
  world: World,
  shard: Shard,
  how: { readonly fault: Fault; readonly expectation: Expectation },
): Promise<void> {
  const old = primaryOf(shard)
  const began = performance.now()
  const mend = await how.fault(world, shard, old)
  world.count('faults')
  if (how.expectation === 'another leads') {
    const leads = await anotherLeads(world, shard, old)
    const ms = Math.round(performance.now() - began)
    if (leads) world.say(`another leads ${shard.name} after ${String(ms)} ms`)
    else world.breach(`nobody leads ${shard.name} instead of ${old} after ${String(ms)} ms`)
  }
  await mend()
  await writesGoOn(world, `${old} of ${shard.name} was hurt`)
  if (!(await untilWhole(world, shard.id))) return
  await tell(world, shard, { old, expectation: how.expectation })
}

/** Waits until the map names another primary than that one. */
export function anotherLeads(world: World, { id }: Shard, old: string): Promise<boolean> {
  return within(leadMsMax, async () => ![old, ''].includes(primaryOf(await shardNow(world, id))))
}

/** Waits until writes are acknowledged; a breach when none are. */
export async function writesGoOn(world: World, since: string): Promise<void> {
  const { acknowledged: before } = world.ledger
  // Writers stop when the time is over, whatever goes on.
  const goesOn = await within(leadMsMax, () =>
    Promise.resolve(world.signal.aborted || world.ledger.acknowledged > before + 20),
  )
  if (!goesOn) world.breach(`no write was acknowledged since ${since}`)
}

async function tell(
  world: World,
  shard: Shard,
  { old, expectation }: { readonly old: string; readonly expectation: Expectation },
): Promise<void> {
  const { failovers, primary, term } = await failoversOf(world, shard.id)
  if (expectation === 'the same leads') {
    if (primary !== old) world.breach(`${primary ?? 'nobody'} leads ${shard.name}, and ${old} was well`)
    return
  }
  const last = failovers.find(({ type }) => type !== 'rebuild')
  if (last === undefined || (expectation === 'either' && primary === old)) return
  world.count(last.type === 'switchover' ? 'switchovers' : 'failovers')
  if (last.loss_bytes_max !== 0) world.breach(`${last.id} may have lost ${String(last.loss_bytes_max)} bytes`)
  if (last.term !== term)
    world.breach(`${last.id} led to term ${String(last.term)}, the shard is in ${String(term)}`)
  world.say(`${last.id}: ${timesOf(last)}`)
}

const timesOf = ({ steps, proof, rejoined_by: way }: Failover): string =>
  `declared at ${steps[0]?.at ?? '-'}, ${steps.map(({ state, ms }) => `${state} ${String(ms)}`).join(', ')} ms; proof: ${proof?.kind ?? '-'}; came back: ${way ?? '-'}`

/** kill -9 of a server, whose data is of no use until the returned function is called. */
export function killForGood(world: World, server: string): () => void {
  const path = join(world.cluster.folder, 'agent', 'servers', server, 'data', 'global', 'pg_control')
  renameSync(path, `${path}.gone`)
  world.cluster.killServer(server)
  return () => {
    try {
      renameSync(`${path}.gone`, path)
    } catch {
      // It was cloned anew meanwhile.
    }
  }
}

/** What clients may be answered while somebody else takes over: what was on its way when the primary died. */
const passing = new Set(
  `unreachable, connection lost, rolled back, shard_unavailable, server_unreachable, stale_map, overloaded, deadline_exceeded,
   outcome_unknown, shutting_down, 57P01, 57P02, 57P03, 53300, 40001, 40003, 08001, 08006, FS001, 57014`
    .split(',')
    .map((reason) => reason.trim()),
)

/** True for an answer that clients may meet while somebody else takes over. */
export const isPassing = (reason: string): boolean => passing.has(reason)

/** What a scenario may set beside its faults. */
export interface Setting {
  readonly rounds?: number
  readonly minutes?: number
  readonly cluster?: Partial<FaultClusterOptions>
  readonly load?: Partial<MixedLoad>
  readonly silenceMsMax?: number
  readonly obstacle?: () => string | null
}

/** A held statement waits for ten seconds; whatever takes over, takes over by then or soon after. */
const silenceMsMax = 30_000

/** A scenario on one shard with two replicas. */
export function scenario(
  name: string,
  what: string,
  faults: readonly Activity[],
  setting: Setting = {},
): Scenario {
  const { rounds = 2, minutes = 6, obstacle } = setting
  return {
    name,
    what,
    cluster: { routers: 1, managers: 2, workers: 1, shards: 1, replicas: 2, ...setting.cluster },
    tables: loadTables,
    minutes,
    rounds,
    silenceMsMax: setting.silenceMsMax ?? silenceMsMax,
    ...(obstacle === undefined ? {} : { obstacle }),
    load: [
      mixedLoad({
        keepers: 2,
        appenders: 1,
        movers: 0,
        readers: 1,
        mayBeRefused: isPassing,
        ...setting.load,
      }),
    ],
    faults,
    expect: async (world) => {
      for (const { id } of await world.cluster.shards()) await untilWhole(world, id)
    },
  }
}
