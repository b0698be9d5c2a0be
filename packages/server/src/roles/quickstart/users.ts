// The sample of the quickstart: a users table sharded by user_id, and rows in it. Safe to repeat.
import type { AdminClient } from '@fleetshard/client/admin'
import { FleetError, isFleetError, type Clock } from '@fleetshard/core'
import type { RouterClient } from '../../cli/mod.ts'

/** What `fleetshard table create -f users.sql --key user_id` would run on every shard. */
export const USERS_SCHEMA = `CREATE TABLE users (
    id          BIGSERIAL PRIMARY KEY,
    user_id     VARCHAR(255) NOT NULL,
    name        VARCHAR(255) NOT NULL,
    email       VARCHAR(255) NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX ux_users_user_id ON users (user_id);
`

/** Rows of the sample. */
export const userCount = 1_000

const keyspace = 'default'
const table = { name: 'users', kind: 'sharded', key_column: 'user_id' } as const
const insertsAtOnce = 16
const attemptsMax = 5
const retryMs = 200
const jobMsMax = 60_000

const INSERT = `INSERT INTO users (user_id, name, email) VALUES ($1, $2, $3) ON CONFLICT (user_id) DO NOTHING`

/** @throws FleetError `conflict` when there is another table of that name, `schema_failed`, and the manager's */
export async function makeUsersTable(admin: AdminClient, signal: AbortSignal): Promise<void> {
  const { tables } = await admin.tables.list(keyspace, { signal })
  const found = tables.find(({ name }) => name === 'public.users')
  if (found === undefined) {
    const body = { tables: [table], ddl: USERS_SCHEMA, wait_ms: jobMsMax }
    try {
      const { job } = await admin.tables.create(keyspace, body, { signal, timeoutMs: jobMsMax + 5_000 })
      if (job !== null) await finished(admin, job.id, signal)
    } catch (error) {
      // Another quickstart was faster.
      if (!isFleetError(error, 'already_exists')) throw error
    }
  } else if (found.key_column !== table.key_column) {
    throw new FleetError('conflict', 'there is another table users in this cluster', {
      hint: 'run the quickstart on another data directory: npm run quickstart -- --data-dir ./quickstart',
    })
  }
}

async function finished(admin: AdminClient, id: string, signal: AbortSignal): Promise<void> {
  for await (const job of admin.jobs.watch(id, AbortSignal.any([signal, AbortSignal.timeout(jobMsMax)]))) {
    if (job.status === 'completed') return
    if (job.status === 'failed' || job.status === 'cancelled')
      throw new FleetError('schema_failed', job.error_message ?? 'the table could not be created', {
        hint: `see fleetshard job get ${id}`,
      })
  }
}

/** What filling tells. */
export interface FilledUsers {
  /** A user of each shard, by shard id. */
  readonly userOf: ReadonlyMap<string, string>
}

/** Writes the users through the router, each to the shard that owns it. Users that are there stay as they are. */
export async function fillUsers(
  parts: { readonly router: RouterClient; readonly clock: Clock; readonly signal: AbortSignal },
  say: (text: string) => void,
): Promise<FilledUsers> {
  const userOf = new Map<string, string>()
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < userCount) {
      next += 1
      const number = next
      const user = `user-${String(number)}`
      const params = [user, `User ${String(number)}`, `user${String(number)}@example.com`]
      const body = { shard_key: user, query: INSERT, params, options: { keyspace } }
      const { shard_id: shard } = await patiently(parts, () => parts.router.execute(body))
      userOf.set(shard, user)
      if (number % 250 === 0) say(`${String(number)} of ${String(userCount)}`)
    }
  }
  await Promise.all(Array.from({ length: insertsAtOnce }, lane))
  return { userOf }
}

/** Rows on the shard of that user. */
export async function countUsers(router: RouterClient, user: string): Promise<number> {
  const query = 'SELECT count(*)::int4 AS users FROM users'
  const { rows } = await router.execute({
    shard_key: user,
    query,
    options: { keyspace, row_format: 'array' },
  })
  const [row] = rows
  return Array.isArray(row) ? Number(row[0]) : 0
}

/** A repeated INSERT changes nothing, so that everything that may pass is tried again. */
async function patiently<T>(
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
  work: () => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (error) {
      const passes = error instanceof FleetError && (error.retryable || error.code === 'outcome_unknown')
      if (!passes || attempt === attemptsMax) throw error
    }
    await clock.sleep(retryMs, signal)
  }
}
