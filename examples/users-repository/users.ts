// All access to the table users: no SQL elsewhere in the program, and no word about shards outside of this file. Writes
// go to the primary of the user's shard, reads to a replica unless the caller wants what was written a moment ago.
import type { CallOptions, FleetShard } from '@fleetshard/client'

/** What the caller gives. `userId` decides on the shard and never changes. */
export interface NewUser {
  readonly userId: string
  readonly name: string
  readonly email: string
}

/** A user as stored. */
export interface User extends NewUser {
  /** Counted by the shard; in a cluster each has a block of its own. A string, since it may be beyond 2^53. */
  readonly id: string
  readonly createdAt: Date
}

/** A shard with what it holds. */
export interface ShardUsers {
  readonly shard: string
  readonly users: number
}

interface UserRow {
  readonly id: string
  readonly user_id: string
  readonly name: string
  readonly email: string
  readonly created_at: string
}

/** The users, over a connected client that stays its caller's. Every method throws FleetShardError. */
export class UsersRepository {
  readonly #db: FleetShard

  constructor(db: FleetShard) {
    this.#db = db
  }

  /** Stores a new user, on the primary. @throws FleetShardError with SQLSTATE 23505 where the user exists */
  async create({ userId, name, email }: NewUser): Promise<User> {
    const [row] = await this.#db.shard(userId).sql<UserRow>`
      INSERT INTO users (user_id, name, email) VALUES (${userId}, ${name}, ${email})
      RETURNING id, user_id, name, email, created_at`
    if (row === undefined) throw new Error('INSERT … RETURNING gave no row')
    return userOf(row)
  }

  /** From a replica, which may be some milliseconds late; from the primary where there is no replica. */
  getByUserId(userId: string): Promise<User | null> {
    return this.#find(userId, { consistency: 'eventual' })
  }

  /** From the primary: sees every write that was acknowledged. */
  getByUserIdFromPrimary(userId: string): Promise<User | null> {
    return this.#find(userId, { consistency: 'strong' })
  }

  /** Changes name and email, on the primary; false where there is no such user. */
  async update({ userId, name, email }: NewUser): Promise<boolean> {
    const { rowCount } = await this.#db.shard(userId)
      .sql`UPDATE users SET name = ${name}, email = ${email} WHERE user_id = ${userId}`.result()
    return rowCount > 0
  }

  /** Removes the user, on the primary; false where there is none. */
  async delete(userId: string): Promise<boolean> {
    const { rowCount } = await this.#db.shard(userId)
      .sql`DELETE FROM users WHERE user_id = ${userId}`.result()
    return rowCount > 0
  }

  /** Goes through all shards, one after the other, each by its handle. */
  async countByShard(): Promise<readonly ShardUsers[]> {
    const counts: ShardUsers[] = []
    for (const shard of this.#db.shards()) {
      const [row] = await shard.sql<{ users: number }>`SELECT count(*)::int AS users FROM users`
      counts.push({ shard: shard.name, users: row?.users ?? 0 })
    }
    return counts
  }

  /** The users of all shards as they come, in no order; as many as there may be. */
  async *all(): AsyncGenerator<User, void, void> {
    const rows = this.#db.all({ consistency: 'eventual' })
      .sql<UserRow>`SELECT id, user_id, name, email, created_at FROM users`
    for await (const row of rows) yield userOf(row)
  }

  async #find(userId: string, options: CallOptions): Promise<User | null> {
    const [row] = await this.#db.shard(userId, options)
      .sql<UserRow>`SELECT id, user_id, name, email, created_at FROM users WHERE user_id = ${userId}`
    return row === undefined ? null : userOf(row)
  }
}

function userOf({ id, user_id: userId, name, email, created_at: createdAt }: UserRow): User {
  return { id, userId, name, email, createdAt: new Date(createdAt) }
}
