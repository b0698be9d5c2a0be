// Twenty lines on the cluster that `npm run quickstart` starts: writes, reads, a transaction, all shards.
import { connect } from '@fleetshard/client'

await using db = await connect({ url: process.argv[2] ?? 'http://127.0.0.1:8080', mode: 'direct' })

const id = `example-${String(Date.now())}`
await db.sql`INSERT INTO users (user_id, name, email) VALUES (${id}, ${'Ada'}, ${'ada@example.com'})`
console.log(`${id} lies on ${db.shardFor(id).shardName}`)

const shard = db.shard(id)
const [user] = await shard.sql<{ name: string }>`SELECT name FROM users WHERE user_id = ${id}`
console.log('its name is', user?.name)

await shard.transaction(async (tx) => {
  await tx.sql`UPDATE users SET name = ${'Ada Lovelace'} WHERE user_id = ${id}`
  await tx.sql`DELETE FROM users WHERE user_id = ${id}`
})
let users = 0
for await (const _ of db.all().sql`SELECT user_id FROM users`) users += 1
console.log(`${String(users)} users on all shards, in ${db.mode} mode`)
