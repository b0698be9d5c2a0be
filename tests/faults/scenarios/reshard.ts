// Splits, merges and moves without end while writers write, and workers, managers, routers and database servers are
// killed, frozen and cut off. Invariants 1, 2 and 5 of the architecture.
import type { ReshardJob, Shard } from '@fleetshard/core/contract'
import type { Answer } from '../../e2e/harness/http.ts'
import type { Linked } from '../kit/cluster.ts'
import { mixedLoad } from '../load/mixed.ts'
import { loadTables } from '../load/writers.ts'
import type { Activity, Scenario, World } from '../scenario.ts'

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const shardsMax = 4
const pollMs = 100
/** A job that has not ended by then, whatever was killed, hangs. */
const jobMsMax = 180_000
/** Longer than any job takes: the phase ends by an order. */
const reversibleSeconds = 600
/** How long rows are written on the targets before they are wanted back. */
const backAfterMsMax = 3_000

/** One job after the other, and what it leaves is cleared away. */
export const operator: Activity = async (world) => {
  for (let number = 1; !world.signal.aborted; number += 1) {
    try {
      await awaitJobs(world)
      await clearAway(world)
      if (!world.signal.aborted) await order(world, number)
    } catch (error) {
      if (error instanceof Hung) {
        world.breach(error.message)
        return
      }
      // The manager died with the answer; what came of the order is seen in the list of jobs.
      world.say(`operator: ${String(error)}`)
      await pause(pollMs)
    }
  }
}

async function order(world: World, number: number): Promise<void> {
  const owners = (await world.cluster.shards()).filter(({ status }) => status === 'active')
  const [first, second] = shuffled(world, owners)
  if (first === undefined) throw new Error('no shard owns anything')
  const target = (part: string) => ({ name: `made-${String(number)}${part}`, nodes: 'embedded' })
  const kinds =
    second === undefined ? ['split'] : owners.length >= shardsMax ? ['merge'] : ['split', 'merge', 'move']
  const kind = world.random.pick(kinds)
  const body =
    kind === 'split'
      ? { source_shard_id: first.id, target_shards: [target('a'), target('b')] }
      : kind === 'move'
        ? { source_shard_id: first.id, target_shard: target('') }
        : { source_shard_ids: [first.id, second?.id], target_shard: target('') }
  // Not a split: the primary key of `event` does not have the shard key in it.
  const isReversible = kind !== 'split' && world.random.chance(0.6)
  const answer: Answer<ReshardJob> = await world.cluster.manager('POST', `/api/v1/reshard/${kind}`, {
    ...body,
    reversible_seconds: isReversible ? reversibleSeconds : 0,
  })
  if (answer.status === 202) world.say(`${kind} of ${first.name}: ${answer.body.id}`)
  else world.say(`${kind} of ${first.name} was answered ${answer.body.code}: ${answer.body.detail}`)
}

function shuffled(world: World, shards: readonly Shard[]): readonly Shard[] {
  return shards
    .map((shard) => ({ shard, at: world.random.uint32() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ shard }) => shard)
}

/** Until no job is under way. */
export async function awaitJobs(world: World): Promise<void> {
  const deadline = performance.now() + jobMsMax
  const seen = new Set<string>()
  const wanted = new Map<string, Decision>()
  for (;;) {
    const open = await openJobs(world)
    for (const { id } of open) seen.add(id)
    if (open.length === 0) break
    for (const { id, phase } of open) if (phase === 'reversible') await decide(world, id, wanted)
    if (performance.now() > deadline) {
      throw new Hung(`the job ${open.map(({ id, phase }) => `${id} (${phase})`).join(', ')} does not end`)
    }
    await pause(pollMs)
  }
  for (const id of seen) await tellEnd(world, id)
}

type Decision = 'reverse' | 'complete' | 'done'

/** After a while on the targets the rows are wanted back, or are to stay. The same again when the answer was lost. */
async function decide(world: World, id: string, wanted: Map<string, Decision>): Promise<void> {
  let order = wanted.get(id)
  if (order === undefined) {
    order = world.random.chance(0.75) ? 'reverse' : 'complete'
    wanted.set(id, order)
    await pause(world.random.below(backAfterMsMax))
  }
  const answer: Answer<ReshardJob> = await world.cluster.manager(
    'POST',
    `/api/v1/reshard/jobs/${id}/${order}`,
  )
  if (answer.status < 300) return
  world.say(`${order} of ${id} was answered ${answer.body.code}: ${answer.body.detail}`)
}

/** A job that hangs ends the scenario. */
class Hung extends Error {
  override readonly name = 'Hung'
}

interface OpenJob {
  readonly id: string
  readonly phase: string
}

async function openJobs(world: World): Promise<readonly OpenJob[]> {
  const { body } = await world.cluster.manager<{ readonly jobs: readonly (OpenJob & { status: string })[] }>(
    'GET',
    '/api/v1/jobs?type=reshard',
  )
  return body.jobs.filter(({ status }) => status === 'pending' || status === 'running')
}

async function tellEnd(world: World, id: string): Promise<void> {
  const { body: job } = await world.cluster.manager<ReshardJob>('GET', `/api/v1/reshard/jobs/${id}`)
  const { type, status, phase, order, hold_ms: holdMs, error_message: why } = job
  const isBack = phase === 'rolled_back'
  // Brought back: there and back again.
  if (status === 'completed' || isBack) world.count('cutovers')
  if (isBack) world.count('cutovers')
  world.count(isBack ? 'jobs reversed' : `jobs ${status}`)
  world.say(`${type} ${id} ${isBack ? 'reversed' : status}, hold ${String(holdMs)} ms ${why ?? ''}`)
  if (status === 'failed') world.breach(`${type} ${id} failed: ${why ?? ''}`)
  if (order === 'reverse' && !isBack)
    world.breach(`${type} ${id} was not reversed: ${job.not_reversible_because ?? ''}`)
}

/** Shards that own nothing any more. */
async function clearAway(world: World): Promise<void> {
  for (const { id, status } of await world.cluster.shards()) {
    if (status === 'inactive') await world.cluster.manager('DELETE', `/api/v1/shards/${id}`)
  }
}

/** Between two faults, so that jobs get on in between and are hit at another step each time. */
const [pauseMsMin, pauseMsMax] = [500, 6_000]

/** kill -9 and SIGSTOP of processes, kill -9 of database servers, cut and hung links to the catalog. */
export const destroyer: Activity = async (world) => {
  const { cluster, random } = world
  const faults: readonly (() => Promise<string>)[] = [
    () => killMember(world, cluster.workers, 'worker'),
    () => killMember(world, cluster.workers, 'worker'),
    () => killMember(world, cluster.workers, 'worker'),
    () => killMember(world, cluster.managers, 'manager'),
    () => killMember(world, cluster.routers, 'router'),
    () => killMember(world, cluster.routers, 'router'),
    () => killServer(world, 'migrating'),
    () => killServer(world, 'any'),
    () => freeze(world, cluster.workers),
    () => freeze(world, cluster.routers),
    () => cutOff(world, [...cluster.workers, ...cluster.routers, ...cluster.managers]),
  ]
  while (!world.signal.aborted) {
    await pause(pauseMsMin + random.below(pauseMsMax - pauseMsMin))
    if (!world.signal.aborted) world.say(await random.pick(faults)())
  }
}

const killMember = async (world: World, members: readonly Linked[], what: string): Promise<string> => {
  const { member } = world.random.pick(members)
  await member.kill()
  world.count('kills')
  world.count(`kills of a ${what}`)
  await pause(world.random.below(1_500))
  member.start()
  return `killed ${member.name}`
}

/** The primary of a shard that gets rows, or of any. */
const killServer = async (world: World, which: 'migrating' | 'any'): Promise<string> => {
  const shards = await world.cluster.shards()
  const targets = shards.filter(({ status }) => status !== 'active')
  const { name, nodes } = world.random.pick(which === 'any' || targets.length === 0 ? shards : targets)
  const primary = nodes.find(({ role }) => role === 'primary')?.id ?? ''
  world.cluster.killServer(primary)
  world.count('kills')
  world.count('kills of a server')
  return `killed the server ${primary} of ${name}`
}

/** Longer than its leases live, or shorter. */
const freeze = async (world: World, members: readonly Linked[]): Promise<string> => {
  const { member } = world.random.pick(members)
  const ms = 200 + world.random.below(6_000)
  member.freeze()
  world.count('freezes')
  await pause(ms)
  member.thaw()
  return `froze ${member.name} for ${String(ms)} ms`
}

const cutOff = async (world: World, members: readonly Linked[]): Promise<string> => {
  const { member, catalog } = world.random.pick(members)
  const ms = 200 + world.random.below(6_000)
  const isHung = world.random.chance(0.5)
  if (isHung) catalog.hang()
  else catalog.cut()
  world.count('cuts')
  await pause(ms)
  catalog.heal()
  return `${isHung ? 'hung' : 'cut'} the link of ${member.name} to the catalog for ${String(ms)} ms`
}

/** What a client may be answered while servers die and ranges change hands: all of it may be tried again. */
const passing = new Set(
  `unreachable, connection lost, shard_unavailable, shard_not_serving, server_unreachable, stale_map, overloaded,
   deadline_exceeded, outcome_unknown, shutting_down, no_shard, 57P01, 57P02, 57P03, 53300, 40001, 40003, 08001, 08006,
   FS001, 57014`
    .split(',')
    .map((reason) => reason.trim()),
)
/**
 * A transaction whose keys lay on one shard when they were chosen, and do not any more. One Postgres would take it; the
 * writer has looked at a map of before the cutover, and chooses anew.
 */
for (const reason of ['cross_shard', '0A000']) passing.add(reason)
/**
 * HTTP and the direct client, of a transaction that was open on a shard when its ranges changed hands or its server
 * died: it has been rolled back for certain, and may be begun again (40001; on the wire that is all that is said).
 * Not among them: 25P02 for whoever was not told before, ROLLBACK as the answer to COMMIT, and that a database is
 * another's (FS002), which only means that the map is old.
 */
passing.add('transaction_aborted')

/** True for an answer that clients may meet while ranges change hands. */
export const isPassingInReshard = (reason: string): boolean => passing.has(reason)

/** The family `reshard`. */
export const reshardScenarios: readonly Scenario[] = [
  {
    name: 'kills',
    what: 'splits, merges and moves in a loop while workers, managers, routers and servers are killed',
    cluster: { routers: 2, managers: 2, workers: 2, shards: 2, replicas: 0 },
    tables: loadTables,
    minutes: 10,
    load: [
      mixedLoad({
        keepers: 2,
        appenders: 1,
        movers: 1,
        readers: 1,
        mayBeRefused: (reason) => passing.has(reason),
      }),
    ],
    faults: [operator, destroyer],
    expect: awaitJobs,
  },
]
