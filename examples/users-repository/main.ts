// Makes a user, reads it from a replica and from the primary, changes and removes it, and counts the users of each shard.
import { connectFromEnvironment } from './connection.ts'
import { UsersRepository } from './users.ts'

await using db = await connectFromEnvironment()
const users = new UsersRepository(db)
const userId = `example-${String(Date.now())}`

const { id } = await users.create({ userId, name: 'Grace', email: 'grace@example.com' })
console.log(`${userId} has the id ${id} and lies on ${db.shardFor(userId).shardName}`)
console.log('from the primary:', (await users.getByUserIdFromPrimary(userId))?.name)
console.log('from a replica:', (await users.getByUserId(userId))?.name ?? 'not there yet')

await users.update({ userId, name: 'Grace Hopper', email: 'grace@example.com' })
console.log('changed:', (await users.getByUserIdFromPrimary(userId))?.name)
await users.delete(userId)

for (const { shard, users: count } of await users.countByShard())
  console.log(`${shard}: ${String(count)} users`)
