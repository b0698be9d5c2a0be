// Act: the primary of a shard is killed under load and cannot start again. A replica takes over, every write that was
// acknowledged is still there, and the former primary comes back as a replica.
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import { FleetError, isFleetError, type ShardMap } from '@fleetshard/core'
import type { Failover, Shard } from '@fleetshard/core/contract'
import type { Act, ActOutcome, Stage } from './act.ts'
import { ownerOf } from './batches.ts'
import { declareTables } from './cluster.ts'
import type { DataSet } from './data-set.ts'
import { counted, timed } from './wording.ts'

/** With one replica nobody would be left to confirm the writes of the next primary. */
const replicasWanted = 2
const clients = 8
const warmMs = 1_000
/** Writes that follow the failover. */
const writesAfter = 200
const stepMsMax = 60_000
const pollMs = 20
const keysPerSelect = 1_000

/** States of a failover in which the shard has no primary. */
const awaySteps = new Set(['declared', 'fencing', 'electing', 'promoting'])

const beats: DataSet = {
  table: 'beats',
  columns: ['beat_id', 'client'],
  keyType: 'text',
  ddl: 'CREATE TABLE beats (beat_id text PRIMARY KEY, client int NOT NULL);',
  rows: [],
}

/** Counts what was acknowledged before and after, and what of it is lost. */
export const primaryKilled: Act = {
  name: 'primary_killed',
  title: 'the primary of a shard is killed under load',
  async run(stage, say) {
    await declareTables({ ...stage, dataSets: [beats] })
    const map = await stage.map()
    const owner = ownerOf(map, keyOf(1), beats.keyType)
    const shard = [...map.shards.values()].find(({ id }) => id === owner)
    if (shard === undefined) throw new FleetError('internal', 'there is no shard')
    say(`${shard.name} gets ${String(replicasWanted)} replicas, and commits that wait for one of them`)
    const before = await protect(stage, shard.id)
    const writers = new Writers(stage, map, shard.id)
    try {
      await writers.more(1)
      await stage.clock.sleep(warmMs, stage.signal)
      const old = primaryOf(before)
      writers.begin()
      killForGood(stage, old)
      say(`${old} is killed, and its data are of no use`)
      const successor = await untilAnotherLeads(stage, shard.id, old)
      await writers.more(writesAfter)
      await writers.end()
      const failover = await untilBack(stage, shard.id, old)
      const backMs = stage.clock.monotonic() - writers.begunMs
      const lost = await missing(stage, shard.id, writers.acknowledged)
      return outcomeOf(writers, { shard: shard.name, old, successor, failover, backMs, lost })
    } finally {
      await writers.end()
    }
  },
}

const primaryOf = ({ nodes }: Pick<Shard, 'nodes'>): string =>
  nodes.find(({ role }) => role === 'primary')?.id ?? ''

/** Two replicas, and commits that wait for one: what a shard needs to lose a primary and no write. */
async function protect(stage: Stage, id: string): Promise<Shard> {
  const { admin, keyspace, signal } = stage
  const { nodes } = await admin.shards.get(id, { signal })
  for (let there = nodes.length - 1; there < replicasWanted; there += 1) {
    await admin.shards.addNode(id, { reason: 'the demo' }, { signal })
  }
  await admin.keyspaces.patch(keyspace, { durability: 'protection' }, { signal })
  return until(stage, 'commits do not wait for two replicas', async () => {
    const shard = await admin.shards.get(id, { signal })
    const { quorum } = await admin.shards.failovers(id, { signal })
    const isThere = quorum?.members.length === replicasWanted && quorum.required === 1 && !quorum.changing
    return isThere && shard.nodes.every(({ role }) => role !== 'standby') ? shard : null
  })
}

/** kill -9 of the server's postmaster; without that file its agent cannot start it again. */
function killForGood({ agent }: Stage, server: string): void {
  const control = join(agent.dataFolder(server), 'global/pg_control')
  const { pid } = agent.get(server)
  if (pid === null) throw new FleetError('internal', `${server} does not run`)
  renameSync(control, `${control}.gone`)
  process.kill(pid, 'SIGKILL')
}

function untilAnotherLeads({ admin, ...stage }: Stage, id: string, old: string): Promise<string> {
  const { signal } = stage
  return until(stage, `nobody leads instead of ${old}`, async () => {
    const leader = primaryOf(await admin.shards.get(id, { signal }))
    return leader === old || leader === '' ? null : leader
  })
}

/** The failover, once the former primary serves reads as a replica. */
function untilBack({ admin, ...stage }: Stage, id: string, old: string): Promise<Failover> {
  const { signal } = stage
  return until(stage, `${old} does not come back as a replica`, async () => {
    const { failovers } = await admin.shards.failovers(id, { signal })
    return (
      failovers.find(({ from, type, status }) => {
        return from === old && type === 'failover' && status === 'completed'
      }) ?? null
    )
  })
}

/** @throws FleetError `deadline_exceeded` */
async function until<T>(
  { clock, signal }: Pick<Stage, 'clock' | 'signal'>,
  complaint: string,
  ask: () => Promise<T | null>,
): Promise<T> {
  const untilMs = clock.monotonic() + stepMsMax
  for (;;) {
    const found = await ask()
    if (found !== null) return found
    if (clock.monotonic() > untilMs) throw new FleetError('deadline_exceeded', complaint)
    await clock.sleep(pollMs, signal)
  }
}

/** Clients that insert rows of one shard, and remember which were acknowledged. */
class Writers {
  readonly #stage: Stage
  readonly #end = new AbortController()
  readonly #clients: readonly Promise<void>[]
  readonly #keys: Iterator<string>
  readonly acknowledged: string[] = []
  /** Answered that nobody knows whether they happened. */
  unknown = 0
  refused = 0
  begunMs = 0
  /** The longest time without an acknowledgement since `begin`. */
  awayMs = 0
  #lastMs = 0

  constructor(stage: Stage, map: ShardMap, shard: string) {
    this.#stage = stage
    this.#keys = keysOf(map, shard)
    this.#clients = Array.from({ length: clients }, (_, client) => this.#run(client))
  }

  begin(): void {
    this.begunMs = this.#lastMs = this.#stage.clock.monotonic()
    this.awayMs = 0
  }

  /** Waits until that many more are acknowledged. @throws FleetError `deadline_exceeded` */
  async more(count: number): Promise<void> {
    const wanted = this.acknowledged.length + count
    await until(this.#stage, 'no write is acknowledged', () =>
      Promise.resolve(this.acknowledged.length >= wanted || null),
    )
  }

  async end(): Promise<void> {
    this.#end.abort()
    await Promise.all(this.#clients)
  }

  async #run(client: number): Promise<void> {
    const { clock, keyspace, router, signal } = this.#stage
    const query = `INSERT INTO ${beats.table} (${beats.columns.join(', ')}) VALUES ($1, $2)`
    while (!this.#end.signal.aborted && !signal.aborted) {
      const { value: key } = this.#keys.next() as { readonly value: string }
      try {
        await router.execute({ shard_key: key, query, params: [key, client], options: { keyspace } })
        this.#acknowledge(key)
      } catch (error) {
        if (isFleetError(error, 'outcome_unknown')) this.unknown += 1
        else this.refused += 1
        // A router that refuses at once must not be asked in a tight loop.
        await clock.sleep(pollMs)
      }
    }
  }

  #acknowledge(key: string): void {
    const nowMs = this.#stage.clock.monotonic()
    this.awayMs = Math.max(this.awayMs, nowMs - this.#lastMs)
    this.#lastMs = nowMs
    this.acknowledged.push(key)
  }
}

const keyOf = (number: number): string => `beat-${String(number)}`

function* keysOf(map: ShardMap, shard: string): Generator<string, never> {
  for (let number = 1; ; number += 1) {
    const key = keyOf(number)
    if (ownerOf(map, key, beats.keyType) === shard) yield key
  }
}

/** How many of the keys the shard does not have. */
async function missing({ router, keyspace }: Stage, shard: string, keys: readonly string[]): Promise<number> {
  let found = 0
  for (let from = 0; from < keys.length; from += keysPerSelect) {
    const some = keys.slice(from, from + keysPerSelect)
    const answer = await router.execute({
      query: `SELECT count(*)::int AS rows FROM ${beats.table} WHERE ${beats.columns[0]} = ANY($1)`,
      params: [some],
      options: { keyspace, shard_id: shard, row_format: 'array' },
    })
    const [row] = answer.rows
    found += Array.isArray(row) ? Number(row[0]) : 0
  }
  return keys.length - found
}

function outcomeOf(
  { acknowledged, awayMs, unknown, refused }: Writers,
  seen: {
    readonly shard: string
    readonly old: string
    readonly successor: string
    readonly failover: Failover
    readonly backMs: number
    readonly lost: number
  },
): ActOutcome {
  const { shard, old, successor, failover, backMs, lost } = seen
  const steps = failover.steps
    .filter(({ state }) => awaySteps.has(state))
    .map(({ state, ms }) => `${state} ${timed(ms)}`)
    .join(', ')
  return {
    figures: {
      primary_killed: {
        shard,
        from: old,
        to: successor,
        writes_away_ms: Math.round(awayMs),
        acknowledged: acknowledged.length,
        lost,
        unknown,
        refused,
        former_back_ms: Math.round(backMs),
        former_back_by: failover.rejoined_by,
      },
    },
    lines: [
      `${successor} leads ${shard} instead of ${old}; writes were away for ${timed(awayMs)}: ${steps}`,
      `${counted(acknowledged.length)} writes were acknowledged, ${counted(lost)} of them are lost; ` +
        `${counted(unknown)} were answered as unknown, ${counted(refused)} refused`,
      `${old} is a replica again ${timed(backMs)} after it was killed (${failover.rejoined_by ?? 'unknown'})`,
    ],
    failures: lost === 0 ? [] : [`${counted(lost)} acknowledged writes are lost`],
  }
}
