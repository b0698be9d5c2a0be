// The Postgres backend: keys, events and leases in tables of one schema, all work in functions of it.
import type { ConnectionOptions } from 'node:tls'
import { FleetError, type Clock } from '@fleetshard/core'
import { Client, type ClientConfig } from 'pg'
import type { Logger } from '../../../runtime/mod.ts'
import { unavailable } from '../../deadline.ts'
import { checkCommit } from '../../limits.ts'
import { prefixEnd } from '../../prefix.ts'
import type {
  CatalogStore,
  CommitResult,
  KeyRevision,
  StoreCondition,
  StoreEntry,
  StoreLease,
  StoreRevision,
  StoreSnapshot,
  StoreWrite,
  WatchEvent,
} from '../../store.ts'
import { createWake } from '../../wake.ts'
import { openConnections, sessionOptions, type Connections } from './connections.ts'
import { listen } from './listener.ts'
import { catalogSchema } from './schema.ts'
import { compactEvents, keepUp } from './upkeep.ts'
import { EventPages, watchEvents } from './watch.ts'

interface CommitRow {
  readonly outcome: 'committed' | 'conflict' | 'lease_lost'
  readonly at_revision: string
}

export interface PostgresStoreOptions {
  readonly clock: Clock
  readonly log: Logger
  readonly applicationName: string
  readonly deadlineMs: number
  /** TLS in place of what the url says. */
  readonly ssl?: ConnectionOptions | undefined
}

/** A catalog in Postgres. */
export interface PostgresStore extends CatalogStore {
  /** Forgets all events now, as upkeep does with old ones. */
  compact(signal?: AbortSignal): Promise<void>
}

/** Entries and the revision where a watch goes on from them, of one snapshot. One row without a key when empty. */
const readText = (range: string): string => `
select m.revision as head, e.key, e.value, e.revision
from ${catalogSchema}.meta m
left join ${catalogSchema}.entries e on ${range}
order by e.key`
const readRangeText = readText(`e.key >= $1 collate "C" and e.key < $2 collate "C"`)
const readAllText = readText('true')

interface ReadRow {
  readonly head: string
  readonly key: string | null
  readonly value: string | null
  readonly revision: string | null
}

const commitText = `
select outcome, at_revision
from ${catalogSchema}.commit($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::uuid[])`

/**
 * Opens a store; the first operation connects and installs the schema.
 * @param connectionString a postgres:// url @throws Error when it cannot be parsed
 */
export function openPostgresStore(connectionString: string, options: PostgresStoreOptions): PostgresStore {
  const { clock, log, deadlineMs, applicationName } = options
  const config: ClientConfig = {
    connectionString,
    application_name: applicationName,
    keepAlive: true,
    connectionTimeoutMillis: deadlineMs,
    ...(options.ssl === undefined ? {} : { ssl: options.ssl }),
  }
  // Parses the url, so that a wrong one is told at once and not as an outage.
  void new Client(config)
  const connections = openConnections({ clock, config, deadlineMs })
  const wake = createWake(clock)
  const pages = new EventPages({ clock, connections, wake, deadlineMs })
  const closed = new AbortController()
  let background: Promise<unknown> | null = null

  /** Starts what runs beside the operations, with the first of them. */
  function start(): Connections {
    if (background === null && !closed.signal.aborted) {
      const listening = { ...config, options: sessionOptions(deadlineMs) }
      background = Promise.all([
        keepUp({ clock, connections }, closed.signal),
        listen({ clock, config: listening, wake }, closed.signal),
      ])
    }
    return connections
  }

  return {
    read: (prefix, signal) => read(start(), prefix, signal),
    async commit(conditions, writes, signal) {
      checkCommit(conditions, writes)
      return commit(start(), { conditions, writes }, signal)
    },
    watch(prefix, from, signal): AsyncIterable<WatchEvent> {
      const ended = AbortSignal.any([signal, closed.signal])
      start()
      return watchEvents({ clock, log, pages, wake }, prefix, from, ended)
    },
    lease: (ttlMs, signal) => grant(start(), ttlMs, signal),
    compact: (signal) => compactEvents(start(), { ageMs: 0, count: 0, bytes: 0 }, signal),
    async [Symbol.asyncDispose]() {
      closed.abort()
      await background
      await connections[Symbol.asyncDispose]()
    },
  }
}

async function read(connections: Connections, prefix: string, signal?: AbortSignal): Promise<StoreSnapshot> {
  const end = prefixEnd(prefix)
  const statement =
    end === null
      ? { name: 'read_all', text: readAllText, values: [] }
      : { name: 'read_range', text: readRangeText, values: [prefix, end] }
  const { rows } = await connections.query<ReadRow>(statement, signal)
  const [first] = rows
  if (first === undefined) throw unavailable('the catalog has no state')
  const entries: StoreEntry[] = []
  for (const { key, value, revision } of rows) {
    if (key === null || value === null || revision === null || !key.startsWith(prefix)) continue
    entries.push({ key, value, revision: revision as KeyRevision })
  }
  return { entries, revision: first.head as StoreRevision }
}

async function commit(
  connections: Connections,
  {
    conditions,
    writes,
  }: { readonly conditions: readonly StoreCondition[]; readonly writes: readonly StoreWrite[] },
  signal?: AbortSignal,
): Promise<CommitResult> {
  const values = [
    conditions.map((condition) => condition.kind),
    conditions.map((condition) => condition.key),
    conditions.map((condition) => (condition.kind === 'revision' ? condition.revision : null)),
    writes.map((write) => write.key),
    writes.map((write) => (write.kind === 'put' ? write.value : null)),
    writes.map((write) => (write.kind === 'put' ? (write.lease?.id ?? null) : null)),
  ]
  const statement = { name: 'commit', text: commitText, values, once: true }
  const { rows } = await connections.query<CommitRow>(statement, signal)
  const [row] = rows
  if (row === undefined) throw unavailable('the catalog did not tell the outcome of a commit')
  if (row.outcome === 'conflict') return { kind: 'conflict' }
  if (row.outcome === 'lease_lost') throw new FleetError('lease_lost', 'the lease of a put has ended')
  const revision = row.at_revision
  const puts = writes.filter((write) => write.kind === 'put')
  return {
    kind: 'committed',
    revision: revision as StoreRevision,
    revisions: new Map(puts.map((write) => [write.key, revision as KeyRevision])),
  }
}

async function grant(connections: Connections, ttlMs: number, signal?: AbortSignal): Promise<StoreLease> {
  const text = `
    insert into ${catalogSchema}.leases (id, ttl, expires_at)
    select gen_random_uuid(), t.ttl, clock_timestamp() + t.ttl
    from (select make_interval(secs => $1::float8 / 1000) as ttl) t
    returning id::text`
  const statement = { name: 'grant', text, values: [ttlMs] }
  const { rows } = await connections.query<{ id: string }>(statement, signal)
  const [row] = rows
  if (row === undefined) throw unavailable('the catalog gave no lease')
  return makeLease(connections, row.id)
}

function makeLease(connections: Connections, id: string): StoreLease {
  const keepAliveText = `
    update ${catalogSchema}.leases l set expires_at = clock_timestamp() + l.ttl
    where l.id = $1 and l.expires_at > clock_timestamp() returning 1`
  const lease: StoreLease = {
    id,
    async keepAlive(signal) {
      const statement = { name: 'keep_alive', text: keepAliveText, values: [id] }
      const { rowCount } = await connections.query(statement, signal)
      if (rowCount === 0) throw new FleetError('lease_lost', 'the lease has ended')
    },
    async revoke(signal) {
      const text = `select ${catalogSchema}.revoke($1)`
      await connections.query({ name: 'revoke', text, values: [id] }, signal)
    },
    async [Symbol.asyncDispose]() {
      await lease.revoke().catch(() => undefined)
    },
  }
  return lease
}
