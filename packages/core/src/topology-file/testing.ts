// For tests: topology files to begin from.

/** A server of a file. */
export const fileNode = (host: string, more: Readonly<Record<string, unknown>> = {}): object => ({
  host,
  port: 5432,
  user: 'app',
  password: 'hunter2',
  dbname: 'app',
  ...more,
})

/** A file of n shards, each with a primary `p<number>` and a replica `r<number>`. */
export function topologyFile(count: number, more: Readonly<Record<string, unknown>> = {}): string {
  const shards = Array.from({ length: count }, (_, number) => ({
    shard_id: number,
    primary: fileNode(`p${String(number)}`),
    replicas: [fileNode(`r${String(number)}`)],
  }))
  return JSON.stringify({ shards, ...more }, null, 2)
}
