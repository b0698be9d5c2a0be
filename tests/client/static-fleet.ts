// Topology files for the client's tests: one keyspace by fnv1a and modulo, with the tables of `schema.ts`.

/** Where all databases of a file are. */
export interface FleetServer {
  readonly host: string
  readonly port: number
  readonly user: string
}

const nowhere: FleetServer = { host: 'localhost', port: 5432, user: 'postgres' }

/** The text of a file with a shard for each database. */
export function topologyText(
  databases: readonly string[],
  { host, port, user }: FleetServer = nowhere,
  more: Readonly<Record<string, unknown>> = {},
): string {
  const shards = databases.map((dbname, number) => ({
    shard_id: number,
    primary: { host, port, user, dbname, tls: 'disable' },
  }))
  const tables = [
    { name: 'users', kind: 'sharded', key_column: 'user_id', key_type: 'text' },
    { name: 'notes', kind: 'sharded', key_column: 'user_id', key_type: 'text' },
    { name: 'kinds', kind: 'reference' },
  ]
  return JSON.stringify(
    { keyspace: 'app', strategy: 'modulo', hash: 'fnv1a', tables, shards, ...more },
    null,
    2,
  )
}
