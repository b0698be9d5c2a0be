// Primaries that die, freeze, come back or are asked to step down while writers write: somebody leads soon, nobody beside
// it, and nothing that was acknowledged is lost. Invariants 1 (in `protection`) and 3 of the architecture.
import { chmodSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import type { Failover, FailoverList, Shard } from '@fleetshard/core/contract'
import { mixedLoad } from '../load/mixed.ts'
import { loadTables } from '../load/writers.ts'
import type { Activity, Scenario, World } from '../scenario.ts'

const pollMs = 50
/** Within which somebody must lead, and within which all must be whole again, on a busy machine. */
const leadMsMax = 60_000
const wholeMsMax = 120_000

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const primaryOf = ({ nodes }: Shard): string => nodes.find(({ role }) => role === 'primary')?.id ?? ''

/** `either`: whatever is quicker, a restart or a failover. */
type Expectation = 'another leads' | 'the same leads' | 'either'
/** What a fault leaves to be mended once another leads. */
type Mend = () => Promise<void> | void
/** Breaks the primary of a shard. */
type Fault = (world: World, shard: Shard, primary: string) => Promise<Mend>

async function failoversOf(world: World, shard: string): Promise<FailoverList> {
  return (await world.cluster.manager<FailoverList>('GET', `/api/v1/shards/${shard}/failovers`)).body
}

/** False when the condition is not met in time. Managers may be dead meanwhile. */
async function within(ms: number, condition: () => Promise<boolean>): Promise<boolean> {
  const deadline = performance.now() + ms
  while (performance.now() < deadline) {
    if (await condition().catch(() => false)) return true
    await pause(pollMs)
  }
  return false
}

/** One primary, replicas beside it, the quorum in force, and no failover on its way. */
async function isWhole(world: World, shard: string): Promise<boolean> {
  const found = (await world.cluster.shards()).find(({ id }) => id === shard)
  const { failovers, quorum } = await failoversOf(world, shard)
  const isOpen = failovers.some(({ status }) => status === 'pending' || status === 'running')
  const roles = found?.nodes.map(({ role }) => role) ?? []
  return (
    !isOpen &&
    roles.filter((role) => role === 'primary').length === 1 &&
    !roles.includes('standby') &&
    quorum?.required === 1 &&
    !quorum.changing
  )
}

async function untilWhole(world: World, shard: string): Promise<boolean> {
  if (await within(wholeMsMax, () => isWhole(world, shard))) return true
  const { failovers } = await failoversOf(world, shard)
  world.breach(`shard ${shard} does not become whole: ${JSON.stringify(failovers[0])}`)
  return false
}

/** Under `protection` nothing may be lost, whatever dies. */
async function protect(world: World): Promise<void> {
  const answer = await world.cluster.manager('PATCH', '/api/v1/keyspaces/default', {
    durability: 'protection',
  })
  if (answer.status !== 200) world.breach(`protection was refused: ${JSON.stringify(answer.body)}`)
}

/** One after the other, each when the last one is over; told with its times. */
function again(fault: Fault, expectation: Expectation = 'another leads'): Activity {
  return async (world) => {
    observePrimaries(world)
    await protect(world)
    // Every way to the cluster is open by then.
    await within(leadMsMax, () => Promise.resolve(world.signal.aborted || world.ledger.acknowledged > 200))
    while (!world.signal.aborted) {
      const shard = world.random.pick(await world.cluster.shards())
      if (!(await untilWhole(world, shard.id))) return
      await pause(500 + world.random.below(1_500))
      if (world.signal.aborted) return
      await once(world, (await world.cluster.shards()).find(({ id }) => id === shard.id) ?? shard, {
        fault,
        expectation,
      })
    }
  }
}

async function once(
  world: World,
  shard: Shard,
  how: { readonly fault: Fault; readonly expectation: Expectation },
): Promise<void> {
  const old = primaryOf(shard)
  const { acknowledged: before } = world.ledger
  const began = performance.now()
  const mend = await how.fault(world, shard, old)
  world.count('faults')
  if (how.expectation === 'another leads') {
    const leads = await within(leadMsMax, async () =>
      (await world.cluster.shards()).some(
        (one) => one.id === shard.id && ![old, ''].includes(primaryOf(one)),
      ),
    )
    const ms = Math.round(performance.now() - began)
    if (leads) world.say(`another leads ${shard.name} after ${String(ms)} ms`)
    else world.breach(`nobody leads ${shard.name} instead of ${old} after ${String(ms)} ms`)
  }
  await mend()
  // Writers stop when the time is over, whatever goes on.
  const goesOn = await within(leadMsMax, () =>
    Promise.resolve(world.signal.aborted || world.ledger.acknowledged > before + 20),
  )
  if (!goesOn) world.breach(`no write was acknowledged since ${old} of ${shard.name} was hurt`)
  if (!(await untilWhole(world, shard.id))) return
  await tell(world, shard, { old, expectation: how.expectation })
}

async function tell(
  world: World,
  shard: Shard,
  { old, expectation }: { readonly old: string; readonly expectation: Expectation },
): Promise<void> {
  const { failovers, primary, term } = await failoversOf(world, shard.id)
  const last = failovers[0]
  if (expectation === 'the same leads') {
    if (primary !== old) world.breach(`${primary ?? 'nobody'} leads ${shard.name}, and ${old} was well`)
    return
  }
  if (last === undefined || (expectation === 'either' && primary === old)) return
  world.count(last.type === 'switchover' ? 'switchovers' : 'failovers')
  if (last.loss_bytes_max !== 0) world.breach(`${last.id} may have lost ${String(last.loss_bytes_max)} bytes`)
  if (last.term !== term)
    world.breach(`${last.id} led to term ${String(last.term)}, the shard is in ${String(term)}`)
  world.say(`${last.id}: ${timesOf(last)}`)
}

const timesOf = ({ steps, rejoined_by: way }: Failover): string =>
  `declared at ${steps[0]?.at ?? '-'}, ${steps.map(({ state, ms }) => `${state} ${String(ms)}`).join(', ')} ms; came back: ${way ?? '-'}`

/** At no moment do two servers of a shard take writes. */
function observePrimaries(world: World): void {
  world.observer.add(async (breach) => {
    for (const shard of await world.cluster.shards()) {
      const found = await Promise.all(
        shard.nodes.map(async ({ id }) => {
          const client = await world.cluster.connectTo(shard, id)
          try {
            const { rows } = await client.query<{ replica: boolean }>('select pg_is_in_recovery() as replica')
            return rows[0]?.replica === false ? [id] : []
          } finally {
            await client.end()
          }
        }),
      ).catch(() => [])
      const primaries = found.flat()
      if (primaries.length > 1) breach(`${primaries.join(' and ')} lead ${shard.name} at the same time`)
    }
  })
}

const controlFile = (world: World, server: string): string =>
  join(world.cluster.folder, 'agent', 'servers', server, 'data', 'global', 'pg_control')

/** kill -9 of a server whose data is of no use any more. */
const killForGood: Fault = async (world, _shard, primary) => {
  const path = controlFile(world, primary)
  renameSync(path, `${path}.gone`)
  world.cluster.killServer(primary)
  return () => undefined
}

/** kill -9 of a server that its agent starts again at once. */
const killOnly: Fault = async (world, _shard, primary) => {
  world.cluster.killServer(primary)
  return () => undefined
}

/** SIGSTOP of the postmaster and everything below it. */
const freezeAll: Fault = async (world, _shard, primary) => {
  world.cluster.signalServer(primary, 'SIGSTOP', 'all')
  return () => {
    world.cluster.signalServer(primary, 'SIGCONT', 'all')
  }
}

/** SIGSTOP of the postmaster alone: what is connected goes on, nobody else gets in. */
const freezePostmaster: Fault = async (world, _shard, primary) => {
  world.cluster.signalServer(primary, 'SIGSTOP', 'postmaster')
  return () => {
    world.cluster.signalServer(primary, 'SIGCONT', 'postmaster')
  }
}

const switchOver: Fault = async (world, shard) => {
  const answer = await world.cluster.manager('POST', `/api/v1/shards/${shard.id}/promote`, {
    reason: 'a scenario',
  })
  if (answer.status !== 202) world.say(`switchover: ${JSON.stringify(answer.body)}`)
  return () => undefined
}

/** The catalog's server is gone, then the primary: nothing may be promoted until the catalog is back. */
const withoutCatalog: Fault = async (world, shard, primary) => {
  await world.cluster.catalog.stop('kill')
  await killForGood(world, shard, primary)
  await pause(3_000)
  await world.cluster.catalog.start()
  return () => undefined
}

/** One manager after the other is killed, at whatever step the failover is. */
const killManagers: Fault = async (world, shard, primary) => {
  const mend = await killForGood(world, shard, primary)
  for (let round = 0; round < 3; round += 1) {
    await pause(world.random.below(2_500))
    const { member } = world.random.pick(world.cluster.managers)
    await member.kill()
    world.count('kills of a manager')
    await pause(200)
    member.start()
  }
  return mend
}

/** The log has no room: the server ends, and ends again at each start. */
const fullDisk: Fault = async (world, _shard, primary) => {
  const wal = join(world.cluster.folder, 'agent', 'servers', primary, 'data', 'pg_wal')
  chmodSync(wal, 0o000)
  world.cluster.killServer(primary)
  return () => {
    chmodSync(wal, 0o700)
  }
}

/** A replica dies and comes back: nobody else leads, writes go on. */
const killReplica: Fault = async (world, shard) => {
  const replicas = shard.nodes.filter(({ role }) => role === 'replica')
  world.cluster.killServer(world.random.pick(replicas).id)
  return () => undefined
}

/** What clients may be answered while somebody else takes over: what was on its way when the primary died. */
const passing = new Set(
  `unreachable, connection lost, rolled back, shard_unavailable, server_unreachable, stale_map, overloaded, deadline_exceeded,
   outcome_unknown, shutting_down, 57P01, 57P02, 57P03, 53300, 40001, 40003, 08001, 08006, 57014`
    .split(',')
    .map((reason) => reason.trim()),
)

function scenario(name: string, what: string, faults: readonly Activity[]): Scenario {
  return {
    name,
    what,
    cluster: {
      routers: 1,
      managers: 2,
      workers: 1,
      shards: 1,
      replicas: 2,
    },
    tables: loadTables,
    minutes: 1,
    load: [
      mixedLoad({
        keepers: 2,
        appenders: 1,
        movers: 0,
        readers: 1,
        mayBeRefused: (reason) => passing.has(reason),
      }),
    ],
    faults,
    expect: async (world) => {
      for (const { id } of await world.cluster.shards()) await untilWhole(world, id)
    },
  }
}

/** The family `availability`. */
export const availabilityScenarios: readonly Scenario[] = [
  scenario('primary-killed', 'kill -9 of a primary that cannot start again', [again(killForGood)]),
  scenario('primary-killed-restarts', 'kill -9 of a primary that its agent starts at once', [
    again(killOnly, 'either'),
  ]),
  scenario('primary-frozen', 'SIGSTOP of a whole primary, then SIGCONT', [again(freezeAll)]),
  scenario('postmaster-frozen', 'SIGSTOP of the postmaster alone', [again(freezePostmaster)]),
  scenario('wal-unwritable', 'a primary whose log cannot be written', [again(fullDisk)]),
  scenario('switchover', 'one switchover after the other', [again(switchOver)]),
  scenario('replica-killed', 'kill -9 of a replica', [again(killReplica, 'the same leads')]),
  scenario('catalog-down', 'the primary dies while the catalog is down', [again(withoutCatalog)]),
  scenario('managers-killed', 'managers die while a failover is under way', [again(killManagers)]),
]
