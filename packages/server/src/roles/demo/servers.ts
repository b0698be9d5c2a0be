// The shards' own servers, asked directly and not through the router: what lies on them, and how far they have replayed.
import { Client } from 'pg'
import { FleetError, type NodeRecord, type ShardRecord } from '@fleetshard/core'
import { createEngine, type NodeFacts } from '../../engine/mod.ts'
import type { Stage } from './act.ts'
import type { DataSet } from './data-set.ts'

const connectMsMax = 5_000
const statementMsMax = 60_000
const replayMsMax = 60_000
const pollMs = 10

/** Keys of all rows of the table on that server. */
export async function keysOn(
  stage: Stage,
  node: NodeRecord,
  { table, columns }: DataSet,
): Promise<readonly string[]> {
  const { host, port, user, password, database } = await stage.agent.endpoint(node.id)
  const client = new Client({
    host,
    port,
    user,
    password,
    database,
    ssl: false,
    application_name: 'fleetshard-demo',
    connectionTimeoutMillis: connectMsMax,
    query_timeout: statementMsMax,
  })
  client.on('error', () => undefined) // a lost session shows up in the query that waits for it
  await client.connect()
  try {
    const text = `SELECT ${columns[0]}::text FROM ${table}`
    const { rows } = await client.query<[string]>({ text, rowMode: 'array' })
    return rows.map(([key]) => key)
  } finally {
    await client.end()
  }
}

/**
 * Waits until every replica has replayed what its primary has written by now; milliseconds that took.
 * @throws FleetError `deadline_exceeded`
 */
export async function awaitReplay(stage: Stage): Promise<number> {
  const begunMs = stage.clock.monotonic()
  const { shards } = await stage.map()
  await Promise.all([...shards.values()].map((shard) => awaitShard(stage, shard)))
  return stage.clock.monotonic() - begunMs
}

async function awaitShard(stage: Stage, { name, nodes }: ShardRecord): Promise<void> {
  const { clock, signal } = stage
  const engine = createEngine('postgres', { clock })
  const primary = nodes.find(({ role }) => role === 'primary')
  const written = primary === undefined ? null : (await factsOf(stage, primary)).position
  const untilMs = clock.monotonic() + replayMsMax
  for (const node of nodes) {
    while (node !== primary && written !== null) {
      const { position } = await factsOf(stage, node)
      if (position !== null && engine.compare(position, written) >= 0) break
      if (clock.monotonic() > untilMs) {
        throw new FleetError('deadline_exceeded', `replica ${node.id} of ${name} has not caught up`)
      }
      await clock.sleep(pollMs, signal)
    }
  }
}

async function factsOf({ agent, clock, signal }: Stage, { id, tls }: NodeRecord): Promise<NodeFacts> {
  const { host, port, user, password, database } = await agent.endpoint(id)
  return createEngine('postgres', { clock }).inspectNode(
    { host, port, user, password, database, tls },
    { signal },
  )
}
