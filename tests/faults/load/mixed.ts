// The usual load of a scenario: keepers, appenders and movers over HTTP, the Postgres wire and the direct client, and
// readers that ask for what was acknowledged.
import { isFleetShardError } from '@fleetshard/client'
import { Random } from '../../fuzz/random.ts'
import type { Activity, World } from '../scenario.ts'
import { openChannel, type Channel, type ChannelKind } from './channels.ts'
import { append, keep, read, roam, type Load } from './writers.ts'

const kinds: readonly ChannelKind[] = ['http', 'wire', 'direct']

/** How many writers of each kind there are on each way. */
export interface MixedLoad {
  readonly keepers: number
  readonly appenders: number
  readonly movers: number
  readonly readers: number
  /** SQLSTATEs and codes that clients may meet while the scenario's faults go on; everything else is a breach. */
  readonly mayBeRefused: (reason: string) => boolean
}

/** All of them, as one activity. */
export function mixedLoad(options: MixedLoad): Activity {
  return async (world) => {
    const keepers: string[] = []
    const jobs: (() => Promise<void>)[] = []
    for (const kind of kinds) {
      const add = (what: string, count: number, work: (load: Load) => Promise<void>): void => {
        for (let number = 1; number <= count; number += 1) {
          const name = `${what}-${kind}-${String(number)}`
          if (what === 'keeper') keepers.push(name)
          jobs.push(() => runOne(world, { name, kind, turn: number, options }, work))
        }
      }
      add('keeper', options.keepers, keep)
      add('appender', options.appenders, append)
      add('mover', options.movers, roam)
      add('reader', options.readers, (load) => read(load, keepers, world.breach))
    }
    await Promise.all(jobs.map((job) => job()))
  }
}

interface One {
  readonly name: string
  readonly kind: ChannelKind
  readonly turn: number
  readonly options: MixedLoad
}

async function runOne(
  world: World,
  { name, kind, turn, options }: One,
  work: (load: Load) => Promise<void>,
): Promise<void> {
  const opened = await openPatiently(world, kind, turn)
  if (opened === null) return
  await using channel = opened
  const { ledger, signal, map, random } = world
  await work({
    ledger,
    channel,
    name,
    signal,
    map,
    // Of its own: what one writer draws depends on no other.
    random: new Random(random.uint32()),
    onRefused: (reason) => {
      world.count(`${kind} ${reason}`)
      if (!options.mayBeRefused(reason)) world.breach(`${name} was answered ${reason}`)
    },
  })
}

const pauseMs = 500

/** A client that cannot begin while something is down begins later. Null when the scenario is over. */
async function openPatiently(world: World, kind: ChannelKind, turn: number): Promise<Channel | null> {
  while (!world.signal.aborted) {
    try {
      return await openChannel(kind, world.cluster.routers, turn)
    } catch (error) {
      if (!isFleetShardError(error)) throw error
      world.count(`${kind} not opened: ${error.code}`)
      if (!error.retryable) throw error
      await new Promise((resolve) => setTimeout(resolve, pauseMs))
    }
  }
  return null
}
