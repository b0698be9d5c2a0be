// Links that are cut: whoever cannot see a primary any more is not the one who knows that it is gone.
import type { Shard } from '@fleetshard/core/contract'
import type { Listening } from '../../kit/cluster.ts'
import type { Scenario, World } from '../../scenario.ts'
import { again, anotherLeads, othersOf, pause, scenario, within, writesGoOn, type Fault } from './rounds.ts'

const cutMs = 9_000

const portOf = ({ nodes }: Shard, server: string): number => nodes.find(({ id }) => id === server)?.port ?? 0

/** Cuts those processes off from a server: in half of the cases nobody is told, as if a cable was pulled. */
async function cutOff(
  world: World,
  shard: Shard,
  { from, how }: { readonly from: readonly Listening[]; readonly how: 'hang' | 'cut' },
): Promise<void> {
  const { links } = world.cluster
  const primary = shard.nodes.find(({ role }) => role === 'primary')?.id ?? ''
  const cut = await Promise.all(from.map(({ member }) => links.to(member.name, portOf(shard, primary))))
  await pause(500) // connections are made anew through it
  for (const link of cut) link[how]()
}

const ways = ['hang', 'cut'] as const

/** No controller reaches the primary, which is well. */
const controllersCut: Fault = async (world, shard) => {
  await cutOff(world, shard, { from: world.cluster.managers, how: world.random.pick(ways) })
  await pause(cutMs)
  await writesGoOn(world, 'the controllers were cut off')
  return () => {
    world.cluster.links.heal()
  }
}

/** One controller of two does not reach it, be it the leader or not. */
const oneControllerCut: Fault = async (world, shard) => {
  const one = world.random.pick(world.cluster.managers)
  await cutOff(world, shard, { from: [one], how: world.random.pick(ways) })
  await pause(cutMs)
  await writesGoOn(world, 'one controller was cut off')
  return () => {
    world.cluster.links.heal()
  }
}

/** No replica hears the primary: under `protection` writes wait, and go on when the link is there again. */
const replicasCut: Fault = async (world, shard, primary) => {
  const heal = await cutReplicas(world, shard, primary)
  await pause(5_000)
  return heal
}

async function cutReplicas(world: World, shard: Shard, primary: string): Promise<() => void> {
  const tap = await world.cluster.servers.tap(primary)
  const links = await Promise.all(othersOf(shard).map((replica) => tap.link(replica)))
  for (const replica of othersOf(shard)) await world.cluster.servers.reconnect(replica)
  for (const link of links) link.hang()
  return () => {
    for (const link of links) link.heal()
  }
}

/** Everybody but those who stand beside it is cut off from the primary, which runs on. */
const isolated: Fault = async (world, shard, primary) => {
  const { cluster } = world
  const gates = await Promise.all(
    cluster.managers.map(({ member }) => cluster.links.gate(member.name, cluster.agentPort)),
  )
  const healReplicas = await cutReplicas(world, shard, primary)
  await cutOff(world, shard, { from: [...cluster.managers, ...cluster.routers], how: 'hang' })
  for (const gate of gates) gate.hide(primary)
  return () => {
    cluster.links.heal()
    healReplicas()
  }
}

/** A primary that sees neither the catalog nor a replica stops by itself; whoever has everything leads afterwards. */
const alone: Fault = async (world, shard, primary) => {
  const { cluster } = world
  const before = cluster.postmaster(primary)
  const healReplicas = await cutReplicas(world, shard, primary)
  cluster.agent.catalog.hang()
  const isStopped = await within(30_000, () => Promise.resolve(cluster.postmaster(primary) !== before))
  if (!isStopped) world.breach(`${primary} runs on although it is alone`)
  return () => {
    cluster.agent.catalog.heal()
    healReplicas()
  }
}

/** A router is on the side of the old primary, without the catalog: it acknowledges nothing. */
const routerIsolated: Fault = async (world, shard, primary) => {
  const { cluster } = world
  const [onThisSide, onItsSide] = cluster.routers
  if (onThisSide === undefined || onItsSide === undefined) throw new Error('there are two routers')
  const gates = await Promise.all(
    cluster.managers.map(({ member }) => cluster.links.gate(member.name, cluster.agentPort)),
  )
  const healReplicas = await cutReplicas(world, shard, primary)
  // The new primary is out of its sight as well.
  const others = await Promise.all(
    othersOf(shard).map((id) => cluster.links.to(onItsSide.member.name, portOf(shard, id))),
  )
  await cutOff(world, shard, { from: [...cluster.managers, onThisSide], how: 'hang' })
  onItsSide.catalog.hang()
  for (const link of others) link.hang()
  for (const gate of gates) gate.hide(primary)
  await anotherLeads(world, shard, primary)
  await pause(3_000)
  return () => {
    onItsSide.catalog.heal()
    cluster.links.heal()
    healReplicas()
  }
}

/** Scenarios of links. */
export const linkScenarios: readonly Scenario[] = [
  scenario('controllers-cut', 'no controller reaches the primary, which is well', [
    again(controllersCut, 'the same leads'),
  ]),
  scenario('one-controller-cut', 'one of two controllers does not reach the primary', [
    again(oneControllerCut, 'the same leads'),
  ]),
  scenario('replicas-cut', 'the primary and its replicas do not hear each other', [
    again(replicasCut, 'the same leads'),
  ]),
  scenario('primary-isolated', 'the primary is cut off with its agent, and comes back', [again(isolated)]),
  scenario(
    'primary-alone',
    'a primary sees neither the catalog nor a replica: it stops',
    [again(alone, 'either')],
    { rounds: 1, silenceMsMax: 90_000 },
  ),
  scenario(
    'router-isolated',
    'a router is cut off together with the old primary',
    [again(routerIsolated)],
    // Strong reads on the side that is cut off may be old: docs/guides/availability.md.
    { cluster: { routers: 2 }, load: { readers: 0 } },
  ),
]
