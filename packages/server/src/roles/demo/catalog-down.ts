// Act: the catalog's server is killed while statements run. Reads and writes of known shards must go on without a single
// error; changes of the cluster must be refused; when the catalog is back, a change must reach the router.
import { FleetError, toFleetError } from '@fleetshard/core'
import type { Act, Stage } from './act.ts'
import { clients, Traffic, type Counts } from './traffic.ts'
import { counted, quantile, rateOf, timed } from './wording.ts'

const downMs = 5_000
const backMsMax = 60_000
const pollMs = 100

/** Counts statements, and those that failed, from the kill until changes are possible again. */
export const catalogDown: Act = {
  name: 'catalog_down',
  title: 'the catalog is killed, and statements go on',
  async run(stage, say) {
    const { agent, catalogServer, clock, signal } = stage
    const traffic = new Traffic(stage)
    try {
      await traffic.more(clients)
      await agent.stop(catalogServer, { mode: 'kill' })
      traffic.begin()
      const downSinceMs = clock.monotonic()
      say('killed; its server is gone')
      const refused = await isChangeRefused(stage)
      await clock.sleep(downMs, signal)
      const tookMs = clock.monotonic() - downSinceMs
      const during = traffic.counts()
      await agent.start(catalogServer, { signal })
      const backMs = await awaitChange(stage)
      await traffic.end()
      return outcomeOf(traffic, { during, tookMs, backMs, refused })
    } finally {
      await traffic.end()
    }
  },
}

/** True when the manager says that the change may pass later. */
async function isChangeRefused({ admin, signal }: Stage): Promise<boolean> {
  try {
    await admin.keyspaces.create({ name: 'while_catalog_is_down' }, { signal })
    return false
  } catch (error) {
    signal.throwIfAborted()
    return error instanceof FleetError && error.retryable
  }
}

/** Makes a keyspace and waits until the router knows it; milliseconds. @throws FleetError `deadline_exceeded` */
async function awaitChange({ admin, router, clock, signal }: Stage): Promise<number> {
  const name = 'after_catalog_was_down'
  const begunMs = clock.monotonic()
  for (let isMade = false; ;) {
    try {
      if (!isMade) await admin.keyspaces.create({ name }, { signal })
      isMade = true
      const { epochs } = (await router.ready()).facts
      if (typeof epochs === 'object' && epochs !== null && name in epochs) return clock.monotonic() - begunMs
    } catch (error) {
      signal.throwIfAborted()
      const { code, retryable } = toFleetError(error)
      // An answer that was lost on the way: it is made.
      isMade ||= code === 'already_exists'
      if (!isMade && !retryable) throw error
    }
    if (clock.monotonic() - begunMs > backMsMax)
      throw new FleetError('deadline_exceeded', 'the cluster takes no changes although the catalog is back')
    await clock.sleep(pollMs, signal)
  }
}

function outcomeOf(
  traffic: Traffic,
  seen: {
    readonly during: Counts
    readonly tookMs: number
    readonly backMs: number
    readonly refused: boolean
  },
): Awaited<ReturnType<Act['run']>> {
  const { during, tookMs, backMs, refused } = seen
  const { errorCount, errors } = traffic
  const latencies = traffic.latenciesMs.toSorted((a, b) => a - b)
  const [median, p99] = [quantile(latencies, 0.5), quantile(latencies, 0.99)]
  const reads = during.queries - during.writes
  return {
    figures: {
      queries_while_catalog_down: during.queries,
      errors_while_catalog_down: errorCount,
      queries_per_s: rateOf(during.queries, tookMs),
      query_ms: { median: Number(median.toFixed(2)), p99: Number(p99.toFixed(2)) },
      changes_refused_while_catalog_down: refused,
    },
    lines: [
      `${timed(tookMs)} without it: ${counted(reads)} reads and ${counted(during.writes)} writes of one row each, ` +
        `${counted(rateOf(during.queries, tookMs))}/s, ${counted(errorCount)} errors`,
      `${String(clients)} clients, which share this process with the router: median ${timed(median)}, p99 ${timed(p99)}; a change of the cluster was ` +
        (refused ? 'refused' : 'accepted'),
      `back: a change reached the router ${timed(backMs)} later`,
    ],
    failures: [
      ...(during.queries === 0 ? ['no statement was answered while the catalog was away'] : []),
      ...(errorCount > 0 ? [`${counted(errorCount)} statements failed: ${errors.join('; ')}`] : []),
      ...(refused ? [] : ['a change of the cluster was accepted although the catalog was away']),
    ],
  }
}
