// Primaries that die, freeze, cannot write, or are asked to step down.
import { chmodSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import type { Scenario, World } from '../../scenario.ts'
import {
  again,
  anotherLeads,
  failoversOf,
  killForGood,
  nothing,
  othersOf,
  pause,
  primaryOf,
  scenario,
  shardNow,
  within,
  writesGoOn,
  type Fault,
} from './rounds.ts'

const dataOf = (world: World, server: string): string =>
  join(world.cluster.folder, 'agent', 'servers', server, 'data')

/** kill -9 of a server whose data is of no use any more. */
const killPrimary: Fault = async (world, _shard, primary) => killForGood(world, primary)

/** kill -9 of a server that its agent starts again at once. */
const killOnly: Fault = async (world, _shard, primary) => {
  world.cluster.killServer(primary)
  return nothing
}

const flaps = 6

/** Killed again and again, at whatever its restart or its failover has come to. */
const flap: Fault = async (world, shard) => {
  for (let turn = 0; turn < flaps; turn += 1) {
    world.cluster.killServer(primaryOf(await shardNow(world, shard.id)))
    await pause(300 + world.random.below(1_500))
  }
  return nothing
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
  return nothing
}

/** The catalog's server is gone for a while, and nothing else: reads and writes go on. */
const catalogOnly: Fault = async (world) => {
  await world.cluster.catalog.stop('kill')
  await writesGoOn(world, 'the catalog went down')
  await pause(4_000)
  await writesGoOn(world, 'the catalog has been down for seconds')
  await world.cluster.catalog.start()
  return nothing
}

/** The catalog's server is gone, then the primary: nothing may be promoted until the catalog is back. */
const withoutCatalog: Fault = async (world, _shard, primary) => {
  await world.cluster.catalog.stop('kill')
  const mend = killForGood(world, primary)
  await pause(3_000)
  await world.cluster.catalog.start()
  return mend
}

/** One manager after the other is killed, at whatever step the failover is. */
const killManagers: Fault = async (world, _shard, primary) => {
  const mend = killForGood(world, primary)
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

/** The log cannot be written: the server ends, and ends again at each start. */
const unwritable: Fault = async (world, _shard, primary) => {
  const wal = join(dataOf(world, primary), 'pg_wal')
  chmodSync(wal, 0o000)
  world.cluster.killServer(primary)
  return () => {
    chmodSync(wal, 0o700)
  }
}

const spareBytes = 48 * 1024 * 1024

/** The log's disk is a small one, and somebody else fills it. */
const fullDisk: Fault = async (world, shard, primary) => {
  const wal = join(dataOf(world, primary), 'pg_wal')
  const unmount = await moveToSmallDisk(world, primary, wal)
  if (
    !(await within(30_000, async () => (await world.cluster.servers.order('GET', primary)).status === 200))
  ) {
    world.breach('the agent does not come back')
  }
  await writesGoOn(world, 'the log was moved')
  fill(wal)
  // Segments that were kept to be used again are used up, until a new one is needed; the writers may have come to that.
  const leader = primaryOf(await shardNow(world, shard.id))
  const client = await world.cluster.servers.superuser(leader).catch(() => null)
  for (let turn = 0; client !== null && turn < 200; turn += 1) {
    const done = await client
      .query("select pg_switch_wal(), pg_logical_emit_message(false, 'faults', 'filler')")
      .catch(() => null)
    if (done === null) break
  }
  await client?.end().catch(() => undefined)
  return unmount
}

async function moveToSmallDisk(world: World, primary: string, wal: string): Promise<() => void> {
  world.cluster.agent.member.freeze()
  world.cluster.killServer(primary)
  await pause(200)
  const kept = `${wal}.kept`
  execFileSync('cp', ['-a', wal, kept])
  const size = Number(execFileSync('du', ['-sb', wal], { encoding: 'utf8' }).split('\t')[0]) + spareBytes
  const { uid, gid } = statSync(wal)
  const options = `size=${String(size)},mode=0700,uid=${String(uid)},gid=${String(gid)}`
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', wal])
  execFileSync('cp', ['-a', `${kept}/.`, wal])
  rmSync(kept, { recursive: true })
  world.cluster.agent.member.thaw()
  return () => {
    execFileSync('umount', ['-l', wal])
  }
}

/** Until there is no room. */
function fill(folder: string): void {
  const chunk = Buffer.alloc(1024 * 1024)
  try {
    for (;;) writeFileSync(join(folder, 'filler'), chunk, { flag: 'a' })
  } catch {
    // Full.
  }
}

/** The next primary dies as soon as the map names it, before the first one is back. */
const twoInARow: Fault = async (world, shard, first) => {
  const mendFirst = killForGood(world, first)
  if (!(await anotherLeads(world, shard, first))) world.breach(`nobody leads instead of ${first}`)
  const second = primaryOf(await shardNow(world, shard.id))
  const mendSecond = killForGood(world, second)
  mendFirst()
  const leads = await within(60_000, async () => {
    const third = primaryOf(await shardNow(world, shard.id))
    return third !== second && third !== ''
  })
  if (!leads) world.breach(`nobody leads instead of ${second}`)
  return mendSecond
}

/** The candidate dies when it is told to lead. */
const candidateDies: Fault = async (world, shard, primary) => {
  const mendPrimary = killForGood(world, primary)
  let candidate = ''
  const isTold = await within(
    60_000,
    async () => {
      const last = (await failoversOf(world, shard.id)).failovers.find(({ from }) => from === primary)
      candidate = last?.to ?? ''
      return candidate !== ''
    },
    2,
  )
  if (!isTold) world.breach('nobody was told to lead')
  const mendCandidate = killForGood(world, candidate)
  world.say(`killed the candidate ${candidate}`)
  await pause(8_000)
  mendCandidate()
  return mendPrimary
}

/** Replicas that start again while their primary is gone know nothing of what they once received. */
const allKilled: Fault = async (world, shard, primary) => {
  const mend = killForGood(world, primary)
  for (const replica of othersOf(shard)) world.cluster.killServer(replica)
  return mend
}

/** The primary and the one replica that has its last writes die; the other may not lead. */
const witnessesDie: Fault = async (world, shard, primary) => {
  const [behind = '', ahead = ''] = othersOf(shard)
  const link = await (await world.cluster.servers.tap(primary)).link(behind)
  await world.cluster.servers.reconnect(behind)
  link.hang()
  await pause(2_000)
  const mendAhead = killForGood(world, ahead)
  const mendPrimary = killForGood(world, primary)
  await pause(8_000)
  const leader = primaryOf(await shardNow(world, shard.id))
  if (leader !== primary) world.breach(`${leader} leads although it may lack acknowledged writes`)
  mendAhead()
  link.heal()
  return mendPrimary
}

/** The most advanced leads: the other replica has missed the last seconds. */
const unequalReplicas: Fault = async (world, shard, primary) => {
  const [behind = '', ahead = ''] = othersOf(shard)
  const link = await (await world.cluster.servers.tap(primary)).link(behind)
  await world.cluster.servers.reconnect(behind)
  link.hang()
  await pause(2_000)
  const mend = killForGood(world, primary)
  if (await anotherLeads(world, shard, primary)) {
    const leader = primaryOf(await shardNow(world, shard.id))
    if (leader !== ahead) world.breach(`${leader} leads, and ${ahead} has more`)
  }
  link.heal()
  return mend
}

const isRoot = process.getuid?.() === 0

/** Scenarios of servers. */
export const serverScenarios: readonly Scenario[] = [
  scenario('primary-killed', 'kill -9 of a primary that cannot start again', [again(killPrimary)]),
  scenario('primary-killed-restarts', 'kill -9 of a primary that its agent starts at once', [
    again(killOnly, 'either'),
  ]),
  scenario('primary-flaps', 'a primary that is killed again and again', [again(flap, 'either')], {
    rounds: 1,
    silenceMsMax: 60_000,
  }),
  scenario('primary-frozen', 'SIGSTOP of a whole primary, then SIGCONT', [again(freezeAll)]),
  scenario('postmaster-frozen', 'SIGSTOP of the postmaster alone', [again(freezePostmaster)]),
  scenario('wal-unwritable', 'a primary whose log cannot be written', [again(unwritable)], { rounds: 1 }),
  scenario('wal-disk-full', 'the disk of the log is full', [again(fullDisk)], {
    rounds: 1,
    obstacle: () => (isRoot ? null : 'only root can mount a small disk'),
  }),
  scenario('switchover', 'one switchover after the other', [again(switchOver)]),
  scenario('catalog-down', 'the catalog is down for a while', [again(catalogOnly, 'the same leads')]),
  scenario('catalog-and-primary-down', 'the primary dies while the catalog is down', [again(withoutCatalog)]),
  scenario('managers-killed', 'managers die while a failover is under way', [again(killManagers)], {
    silenceMsMax: 60_000,
  }),
  scenario('two-in-a-row', 'the next primary dies before the first one is back', [again(twoInARow)], {
    rounds: 1,
    silenceMsMax: 60_000,
  }),
  scenario('candidate-dies', 'a candidate dies while it is promoted', [again(candidateDies)], {
    rounds: 1,
    silenceMsMax: 90_000,
  }),
  scenario('all-killed', 'replicas restart while the primary is gone: no received position', [
    again(allKilled),
  ]),
  scenario(
    'witnesses-die',
    'the primary and the replica that confirmed its writes die',
    [again(witnessesDie)],
    { rounds: 1, silenceMsMax: 90_000 },
  ),
  scenario('unequal-replicas', 'one replica is behind the other when the primary dies', [
    again(unequalReplicas),
  ]),
]
