// How long writes are away when a primary dies, is frozen, is cut off, or is asked to step down, under a steady load: from
// the fault to the first write that is acknowledged again. Patroni goes through the same where it is installed.
import {
  atMost,
  describeMachine,
  median,
  type Report,
  type Run,
  type RunOptions,
  type Target,
} from '../../harness/report.ts'
import { RoamingWriter, type RoamingWrite } from '../../load/roaming-writer.ts'
import { patroniObstacle, patroniSettings, startPatroni, type PatroniSettings } from '../../peers/patroni.ts'
import { FAULTS, untilTrue, type Contestant, type Fault } from './contestant.ts'
import { startFleetshard } from './fleetshard.ts'

const writesPerSecond = 50
const keyCount = 500
const settleMs = 1_500

interface Measured {
  readonly fault: Fault
  /** When it happened, `performance.now()`. */
  readonly atMs: number
  readonly toMs: number
}

/** What one of them did. */
interface Outcome {
  readonly name: string
  readonly measured: readonly Measured[]
  readonly writes: readonly RoamingWrite[]
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** The workload. */
export async function failover(onRun: (run: Run) => void, { kills }: RunOptions): Promise<Report> {
  const go = async (start: () => Promise<Contestant>): Promise<Outcome> => {
    await using contestant = await start()
    return await measureAll(contestant, kills, onRun)
  }
  const own = await go(startFleetshard)
  const obstacle = await patroniObstacle()
  const peers: Outcome[] = []
  if (obstacle === null) {
    for (const settings of patroniSettings) peers.push(await go(() => startPatroni(settings)))
  }
  return reportOf(own, peers, obstacle)
}

async function measureAll(
  contestant: Contestant,
  rounds: number,
  onRun: (run: Run) => void,
): Promise<Outcome> {
  const { name, target } = contestant
  const measured: Measured[] = []
  await contestant.whole()
  await using writer = new RoamingWriter(target, {
    perSecond: writesPerSecond,
    text: 'insert into counter (key) values ($1) on conflict (key) do update set n = counter.n + 1',
    valueOf: (count) => `k${String(count % keyCount)}`,
  })
  for (const fault of FAULTS) {
    for (let round = 0; round < rounds; round += 1) {
      const one = await measure(contestant, writer, fault)
      measured.push(one)
      onRun({ ...runOf(`${name}: ${fault}`), p50_ms: awayMs(one, writer.writes) })
    }
  }
  return { name, measured, writes: writer.writes }
}

async function measure(contestant: Contestant, writer: RoamingWriter, fault: Fault): Promise<Measured> {
  const { name } = contestant
  await contestant.whole()
  const wholeMs = performance.now()
  await untilTrue(`${name} takes writes`, () => writer.wroteSince(wholeMs))
  await pause(settleMs)
  const { atMs, isOver, mend } = await contestant.strike(fault)
  await untilTrue(`another server of ${name} leads after ${fault}`, isOver)
  const ledMs = performance.now()
  await untilTrue(`${name} takes writes after ${fault}`, () => writer.wroteSince(ledMs))
  await pause(settleMs)
  const toMs = performance.now()
  await mend()
  return { fault, atMs, toMs }
}

/** From the fault to the end of the longest time without an acknowledged write. */
function awayMs({ atMs, toMs }: Measured, writes: readonly RoamingWrite[]): number {
  const ends = writes
    .filter(({ isAcknowledged }) => isAcknowledged)
    .map(({ beganMs, tookMs }) => beganMs + tookMs)
    .filter((endMs) => endMs >= atMs && endMs <= toMs)
    .toSorted((a, b) => a - b)
  let back = { gapMs: 0, atMs }
  let last = atMs
  for (const end of ends) {
    if (end - last > back.gapMs) back = { gapMs: end - last, atMs: end }
    last = end
  }
  return back.atMs - atMs
}

const timesOf = ({ measured, writes }: Outcome, fault: Fault): readonly number[] =>
  measured.filter((one) => one.fault === fault).map((one) => awayMs(one, writes))

/** The longest acknowledged write of each switchover, which held it. */
function heldMs({ measured, writes }: Outcome): readonly number[] {
  return measured
    .filter(({ fault }) => fault === 'switchover')
    .map(({ atMs, toMs }) =>
      Math.max(
        0,
        ...writes
          .filter(({ beganMs, isAcknowledged }) => isAcknowledged && beganMs <= toMs && beganMs >= atMs - 1)
          .map(({ tookMs }) => tookMs),
      ),
    )
}

function reportOf(own: Outcome, peers: readonly Outcome[], obstacle: string | null): Report {
  const all = [own, ...peers]
  return {
    workload: 'failover',
    machine: describeMachine(),
    runs: all.flatMap((outcome) =>
      FAULTS.map((fault) => {
        const times = timesOf(outcome, fault)
        return {
          ...runOf(`${outcome.name}: ${fault}`),
          p50_ms: median(times),
          p99_ms: Math.max(...times),
        }
      }),
    ),
    ratios: Object.fromEntries(
      peers.flatMap((peer) =>
        FAULTS.map((fault) => [
          `${fault}: ${peer.name} / ${own.name}`,
          median(timesOf(peer, fault)) / median(timesOf(own, fault)),
        ]),
      ),
    ),
    targets: targetsOf(own),
    notes: [
      `fleetshard: two replicas, one of them confirms each commit; written to through a router; ${String(writesPerSecond)} writes a second`,
      'kill -9: of a server that cannot start again; SIGSTOP: of all its processes; cut link: its host is cut off, nobody is told',
      obstacle ?? patroniNote(patroniSettings),
      ...all.flatMap((outcome) => [
        ...FAULTS.map((fault) => `${outcome.name}: ${fault}, ms: ${listed(timesOf(outcome, fault))}`),
        `${outcome.name}: longest write of each switchover, ms: ${listed(heldMs(outcome))}`,
        `${outcome.name}: writes that were not acknowledged: ${failed(outcome.writes)}`,
      ]),
      'p50 is from the fault to the first write that is acknowledged again, p99 the longest of these',
    ],
  }
}

function targetsOf(own: Outcome): readonly Target[] {
  const isIn = ({ beganMs }: RoamingWrite): boolean =>
    own.measured.some(
      ({ fault, atMs, toMs }) => fault === 'switchover' && beganMs >= atMs - settleMs && beganMs <= toMs,
    )
  const refused = own.writes.filter((write) => !write.isAcknowledged && isIn(write)).length
  const longest = (fault: Fault, ms: number): Target => {
    const times = timesOf(own, fault)
    return atMost(
      `writes away after ${fault}, longest of ${String(times.length)}, ms`,
      ms,
      Math.max(...times),
    )
  }
  const held = heldMs(own)
  return [
    longest('kill -9', 4_000),
    longest('SIGSTOP', 7_000),
    longest('cut link', 7_000),
    atMost(`longest write of a switchover, longest of ${String(held.length)}, ms`, 1_000, Math.max(...held)),
    atMost('writes of switchovers that were not acknowledged', 0, refused),
  ]
}

const listed = (times: readonly number[]): string => times.map((ms) => ms.toFixed(0)).join(' ')

const failed = (writes: readonly RoamingWrite[]): string =>
  `${String(writes.filter(({ isAcknowledged }) => !isAcknowledged).length)} of ${String(writes.length)}`

const patroniNote = (all: readonly PatroniSettings[]): string =>
  `patroni, two nodes and one etcd, written to as libpq does with several hosts: ${all
    .map(
      ({ name, ttl, loopWait, retryTimeout, isSynchronous }) =>
        `${name}: ttl ${String(ttl)}, loop_wait ${String(loopWait)}, retry_timeout ${String(retryTimeout)}, ${isSynchronous ? 'synchronous' : 'asynchronous'}`,
    )
    .join('; ')}`

const runOf = (variant: string): Run => ({
  variant,
  clients: 1,
  ops_per_s: writesPerSecond,
  p50_ms: null,
  p99_ms: null,
  cpu_us_per_op: null,
  rss_mb: null,
})
