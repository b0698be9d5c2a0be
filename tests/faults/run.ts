// Runs one scenario: makes its cluster, lets load and faults go on for the time given, mends everything, and draws up
// the account of what is there.
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ShardMap } from '@fleetshard/core'
import { Random } from '../fuzz/random.ts'
import { ownerOf, shardMapOf } from '../e2e/harness/shard-map.ts'
import { until } from '../e2e/harness/until.ts'
import { startFaultCluster, type FaultCluster } from './kit/cluster.ts'
import { Observer } from './kit/observer.ts'
import { Ledger, type Account, type FoundRow, type WaitTimes } from './ledger/ledger.ts'
import type { Activity, Scenario, ScenarioReport, World } from './scenario.ts'

const observeEveryMs = 200
const mapEveryMs = 100
const breachesMax = 40
/** Writes that are acknowledged before anything is broken. */
const warmWrites = 100

/** How it is run. */
export interface RunOptions {
  /** Null: as long as the scenario says, and as many rounds. */
  readonly minutes: number | null
  readonly seed: number
  /** Ends it before its time: it does not hold then, and everything is cleaned up. */
  readonly signal: AbortSignal
  /** Told what goes on, line by line. */
  readonly say: (text: string) => void
}

/** Runs one. */
export async function runScenario(scenario: Scenario, options: RunOptions): Promise<ScenarioReport> {
  let holds = false
  await using cluster = await startFaultCluster(scenario.cluster, () => !holds)
  await declare(cluster, scenario)
  const report = await play(scenario, cluster, options)
  holds = report.holds
  return report
}

async function declare(cluster: FaultCluster, { tables }: Scenario): Promise<void> {
  const answer = await cluster.manager('POST', '/api/v1/keyspaces/default/tables', {
    ...tables,
    wait_ms: 60_000,
  })
  if (answer.status !== 201) throw new Error(`the tables cannot be made: ${JSON.stringify(answer.body)}`)
}

async function play(
  scenario: Scenario,
  cluster: FaultCluster,
  { minutes, seed, signal, say }: RunOptions,
): Promise<ScenarioReport> {
  const began = performance.now()
  const breaches: string[] = []
  const counts: Record<string, number> = {}
  const tell = (text: string): void => {
    const line = `${((performance.now() - began) / 1000).toFixed(1)} s  ${text}`
    appendFileSync(join(cluster.folder, 'logs/scenario.log'), `${new Date().toISOString()} ${line}\n`)
    say(line)
  }
  const breach = (text: string): void => {
    if (breaches.length < breachesMax) breaches.push(text)
    tell(`BREACH: ${text}`)
  }
  const follower = await followMap(cluster)
  let waits: WaitTimes = { heldMsMax: 0, silenceMsMax: 0 }
  const stop = new AbortController()
  const world: World = {
    cluster,
    random: new Random(seed),
    ledger: new Ledger(),
    observer: new Observer(observeEveryMs, breach),
    signal: stop.signal,
    rounds: minutes === null ? (scenario.rounds ?? Infinity) : Infinity,
    map: follower.map,
    count: (what) => (counts[what] = (counts[what] ?? 0) + 1),
    say: tell,
    breach,
  }
  stop.signal.addEventListener('abort', () => {
    waits = world.ledger.waits()
  })
  const onStop = (): void => {
    breach('it was stopped before its time')
    stop.abort()
  }
  signal.addEventListener('abort', onStop, { once: true })
  try {
    signal.throwIfAborted()
    await untilOver(scenario, world, { stop, afterMs: (minutes ?? scenario.minutes) * 60_000 })
    await cluster.mend()
    await scenario.expect(world)
  } catch (error) {
    // The account is drawn up all the same: it says most when something went wrong.
    breach(`the scenario did not come to its end: ${String(error)}`)
    await cluster.mend()
  } finally {
    stop.abort()
    signal.removeEventListener('abort', onStop)
    await follower.stop()
  }
  for (const { name, crashes } of cluster.members) {
    if (crashes > 0) breach(`${name} ended ${String(crashes)} times though nobody asked it to`)
  }
  const account = world.ledger.account(await rowsOf(cluster), await ownersOf(cluster))
  tellWrongs(account, breach)
  const { silenceMsMax: allowedMs = Infinity } = scenario
  if (waits.silenceMsMax > allowedMs) {
    breach(`no write was acknowledged for ${waits.silenceMsMax.toFixed(0)} ms`)
  }
  const holds = account.holds && breaches.length === 0
  return {
    name: scenario.name,
    seconds: Math.round((performance.now() - began) / 1000),
    acked: account.acknowledged,
    unknown: account.unknown,
    refused: account.refused,
    lost: account.lost.length,
    duplicated: account.duplicated.length,
    misplaced: account.misplaced.length,
    stale: account.stale.length,
    denied: account.denied.length,
    two_primaries: counts['two primaries'] ?? 0,
    held_ms_max: Math.round(waits.heldMsMax),
    rto_ms: Math.round(waits.silenceMsMax),
    counts,
    breaches,
    holds,
    folder: holds ? null : cluster.folder,
  }
}

/** Load first, then faults and observer until the time or the faults are over, or one of them fails. */
async function untilOver(
  { load, faults }: Scenario,
  world: World,
  { stop, afterMs }: { readonly stop: AbortController; readonly afterMs: number },
): Promise<void> {
  const running: Promise<void>[] = []
  const start = (activity: Activity): Promise<void> => {
    const one = activity(world)
    one.catch(() => {
      stop.abort()
    })
    running.push(one)
    return one
  }
  for (const activity of load) void start(activity)
  await until('writers are at work', () => stop.signal.aborted || world.ledger.acknowledged >= warmWrites)
  const timer = setTimeout(() => {
    stop.abort()
  }, afterMs)
  world.ledger.measure()
  void Promise.allSettled(faults.map((activity) => start(activity))).then(() => {
    stop.abort()
  })
  await Promise.allSettled([...running, world.observer.run(stop.signal)])
  clearTimeout(timer)
  await Promise.all(running)
}

/** Keeps the map at hand for writers that choose keys by it. */
async function followMap(cluster: FaultCluster): Promise<{ map: () => ShardMap; stop: () => Promise<void> }> {
  let current = await shardMapOf(cluster)
  const stop = new AbortController()
  const following = (async () => {
    while (!stop.signal.aborted) {
      await shardMapOf(cluster).then(
        (map) => (current = map),
        () => undefined,
      )
      await new Promise((resolve) => setTimeout(resolve, mapEveryMs))
    }
  })()
  return {
    map: () => current,
    stop: () => {
      stop.abort()
      return following
    },
  }
}

/** Every row of every shard that owns ranges, read past the routers. */
async function rowsOf(cluster: FaultCluster): Promise<readonly FoundRow[]> {
  const owners = (await cluster.shards()).filter(({ status }) => status === 'active')
  const rows: FoundRow[] = []
  for (const shard of owners) {
    const client = await until(`shard ${shard.name} can be read`, () => cluster.connectTo(shard))
    const found = await client.query<{ key: string; version: number; owner: string | null }>(
      `SELECT key, version, NULL AS owner FROM ledger
       UNION ALL SELECT key, 1, NULL FROM event
       UNION ALL SELECT id, version, owner FROM roamer`,
    )
    await client.end()
    for (const { key, version, owner } of found.rows) {
      rows.push({ key, version, shard: shard.id, ...(owner === null ? {} : { shardKey: owner }) })
    }
  }
  return rows
}

async function ownersOf(cluster: FaultCluster): Promise<(key: string) => string> {
  const map = await shardMapOf(cluster)
  return (key) => ownerOf(map, key)
}

function tellWrongs(account: Account, breach: (text: string) => void): void {
  const { lost, duplicated, misplaced, stale, denied } = account
  for (const [kind, keys] of Object.entries({ lost, duplicated, misplaced, stale, denied })) {
    if (keys.length > 0) breach(`${kind}: ${keys.slice(0, 5).join(', ')}`)
  }
}
