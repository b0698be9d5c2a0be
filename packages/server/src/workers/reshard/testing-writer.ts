// For kill.pg.test.ts: writers that behave as routers do. Each write goes to the owner by the map as it is, on a connection
// that has checked the epoch of the shard, under an idempotency key; what becomes of it is written down.
import { buildShardMap, parseKey, parseKeyspaceName } from '@fleetshard/core'
import type { Client } from 'pg'
import { checkShardState, routerName } from '../../engine/postgres/testing.ts'
import { systemClock } from '../../runtime/mod.ts'
import { keyspace, type TestFleet } from './testing.ts'

/** What is known of one key. */
export interface Written {
  /** The last version that was acknowledged. */
  acknowledged: number
  /** The last that was tried: it may have happened when its connection was lost. */
  tried: number
  /** Versions that were acknowledged, all of them remembered. */
  readonly versions: number[]
}

/** The idempotency key of a write. */
export const recordOf = (key: string, version: number): string => `${key}:${String(version)}`

interface Connection {
  readonly client: Client
  readonly epochMin: number
}

/** Keys that one writer goes round. */
const keysPerWriter = 200
const pauseMs = 3
/** What says that nothing was done, and what leaves it open. */
const refusedState = 'FS001'
const lostStates = new Set(['57P01', '57P02', '57P03'])

/** Writes keys of its own until told to stop, as a router that holds nothing back does. */
export async function write(
  fleet: TestFleet,
  name: string,
  written: Map<string, Written>,
  signal: AbortSignal,
): Promise<void> {
  const connections = new Map<string, Connection>()
  for (let count = 0; !signal.aborted; count += 1) {
    const key = `${name}-${String(count % keysPerWriter)}`
    let entry = written.get(key)
    if (entry === undefined) written.set(key, (entry = { acknowledged: 0, tried: 0, versions: [] }))
    await writeOnce(fleet, connections, key, entry)
    await systemClock.sleep(pauseMs)
  }
}

async function writeOnce(
  fleet: TestFleet,
  connections: Map<string, Connection>,
  key: string,
  entry: Written,
): Promise<void> {
  const stored = await fleet.catalog.keyspaces.read(parseKeyspaceName(keyspace))
  if (stored === null) throw new Error('there is no keyspace')
  const map = buildShardMap(stored.snapshot)
  const { shard, hash } = map.locate(parseKey(key, 'text'), 'text')
  const version = entry.tried + 1
  try {
    let connection = connections.get(shard.id)
    if (connection === undefined) connections.set(shard.id, (connection = await connect(fleet, shard.id)))
    // Another map has come meanwhile: it is read by the next write.
    if (connection.epochMin > map.epoch) return
    entry.tried = version
    await connection.client.query(
      `with record as (insert into fleetshard.idempotency (key, shard_hash, fingerprint, expires_at)
                       values ($3, $4, 'f', now() + interval '1 hour'))
       insert into t (key, version) values ($1, $2) on conflict (key) do update set version = $2`,
      [key, version, recordOf(key, version), hash],
    )
    entry.acknowledged = version
    entry.versions.push(version)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    if (code === refusedState) return
    const isLost = lostStates.has(code) || /terminated|not queryable|ECONNRESET/.test(String(error))
    if (!isLost) throw error
    connections.delete(shard.id)
  }
}

async function connect(fleet: TestFleet, shard: string): Promise<Connection> {
  const client = await fleet.client(shard, routerName)
  return { client, epochMin: Number((await checkShardState(client)).epoch_min) }
}
