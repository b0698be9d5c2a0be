// Tests of the repository on real shards: `npx node --test examples/users-repository/users.test.ts`.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { isFleetShardError, type FleetShard } from '@fleetshard/client'
import { connectFromEnvironment } from './connection.ts'
import { UsersRepository, type NewUser } from './users.ts'

const replayMsMax = 10_000

let db: FleetShard
let users: UsersRepository
before(async () => {
  db = await connectFromEnvironment()
  users = new UsersRepository(db)
})
after(() => db.close())

const someone = (): NewUser => ({
  userId: `test-${randomUUID()}`,
  name: 'Some One',
  email: 'one@example.com',
})

/** Removes them, whatever came of the test. */
async function withUsers(count: number, work: (made: readonly NewUser[]) => Promise<void>): Promise<void> {
  const made = Array.from({ length: count }, someone)
  try {
    for (const user of made) await users.create(user)
    await work(made)
  } finally {
    for (const { userId } of made) await users.delete(userId)
  }
}

void test('a user that was made is read from the primary at once, and from a replica soon', async () => {
  await withUsers(1, async ([user]) => {
    assert.ok(user)
    const found = await users.getByUserIdFromPrimary(user.userId)
    assert.ok(found)
    assert.partialDeepStrictEqual(found, { ...user })
    assert.match(found.id, /^\d+$/)
    assert.ok(found.createdAt.getTime() > 0)
    const untilMs = performance.now() + replayMsMax
    let copy = await users.getByUserId(user.userId)
    while (copy === null && performance.now() < untilMs) copy = await users.getByUserId(user.userId)
    assert.deepEqual(copy, found)
  })
})

void test('a second user of the same id is refused, and nothing of it happened', async () => {
  await withUsers(1, async ([user]) => {
    assert.ok(user)
    await assert.rejects(users.create({ ...user, name: 'Another' }), (error) => {
      assert.ok(isFleetShardError(error, 'sql_error'))
      assert.deepEqual([error.sqlstate, error.outcome], ['23505', 'aborted'])
      return true
    })
    assert.equal((await users.getByUserIdFromPrimary(user.userId))?.name, user.name)
  })
})

void test('changes and removals say whether there was such a user', async () => {
  const user = someone()
  assert.equal(await users.update(user), false)
  assert.equal(await users.delete(user.userId), false)
  assert.equal(await users.getByUserId(user.userId), null)
  await users.create(user)
  assert.equal(await users.update({ ...user, name: 'New Name' }), true)
  assert.equal((await users.getByUserIdFromPrimary(user.userId))?.name, 'New Name')
  assert.equal(await users.delete(user.userId), true)
  assert.equal(await users.getByUserIdFromPrimary(user.userId), null)
})

void test('all shards are gone through: the sum of their users is what a stream of all gives', async () => {
  await withUsers(20, async (made) => {
    const before = await users.countByShard()
    assert.deepEqual(
      before.map(({ shard }) => shard),
      db.shards().map(({ name }) => name),
    )
    const used = new Set(made.map(({ userId }) => db.shardFor(userId).shardName))
    assert.ok(used.size > 1 || db.shards().length === 1, 'twenty users lie on more than one shard')
    const untilMs = performance.now() + replayMsMax
    let missing = made.length
    while (missing > 0 && performance.now() < untilMs) {
      const found = new Set<string>()
      for await (const { userId } of users.all()) found.add(userId)
      missing = made.filter(({ userId }) => !found.has(userId)).length
    }
    assert.equal(missing, 0)
  })
})
