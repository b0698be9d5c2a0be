// A program in TypeScript, only compiled: its types come from the package as it is installed.
import {
  connect,
  isFleetShardError,
  type ConnectOptions,
  type FleetShard,
  type FleetShardError,
  type Result,
} from '@fleetshard/client'
import { kyselyFor } from '@fleetshard/client/kysely'

interface User {
  readonly user_id: string
  readonly name: string
}

/** Every result has the type that was asked for. */
export async function names(options: ConnectOptions): Promise<readonly string[]> {
  const db: FleetShard = await connect(options)
  const rows: User[] = await db.shard('a').sql<User>`select user_id, name from users where user_id = ${'a'}`
  const result: Result<User> = await db.query<User>('select 1', [1n, null, new Date(), ['x']])
  for await (const { name } of db.all().stream<User>('select user_id, name from users'))
    rows.push({ name, user_id: '' })
  const built = await kyselyFor<{ users: User }>(db).selectFrom('users').select('name').execute()
  // @ts-expect-error -- a function is no parameter
  await db.query('select $1', [() => 1])
  return [...rows, ...result.rows, ...built].map(({ name }) => name)
}

/** The codes are known, and nothing else is one. */
export function isBusy(error: unknown): error is FleetShardError {
  // @ts-expect-error -- there is no such code
  if (isFleetShardError(error, 'no_such_code')) return false
  return isFleetShardError(error, 'overloaded')
}
