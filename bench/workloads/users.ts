// The users table that workloads read and write.
import pg from 'pg'
import type { BenchCluster } from '../harness/cluster.ts'

const userCount = 10_000

/** A key of the table; follows no order. */
export const userKey = (index: number): string => `user-${String(1 + ((index * 17) % userCount))}`

/** Declares the table through the manager and fills it directly; the connection string of the one shard. */
export async function fillUsers(cluster: BenchCluster): Promise<string> {
  const answer = await fetch(`${cluster.managerUrl}/api/v1/shards`)
  const { shards } = (await answer.json()) as { shards: { nodes: { id: string }[] }[] }
  const url = cluster.nodeUrl(shards[0]?.nodes[0]?.id ?? '')
  const created = await fetch(`${cluster.managerUrl}/api/v1/keyspaces/default/tables`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      ddl: 'create table users (id bigserial primary key, user_id varchar(255) not null unique, name text, email text)',
      tables: [{ name: 'public.users', kind: 'sharded', key_column: 'user_id' }],
    }),
  })
  if (created.status !== 201) throw new Error(`the table was not created: ${await created.text()}`)
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(
    `insert into users (user_id, name, email)
     select 'user-' || n, 'User ' || n, 'user' || n || '@example.com' from generate_series(1, ${String(userCount)}) n`,
  )
  await client.query('vacuum analyze users')
  await client.end()
  return url
}
