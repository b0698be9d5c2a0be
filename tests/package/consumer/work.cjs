// What the test's programs do with the client, however they came by it. Plain JavaScript: Node 20 runs it as it is.
const { createRequire } = require('node:module')

/** Uses most of the client once with each of the named options for `connect`, and tells what came of it. */
exports.work = async ({ connect, isFleetShardError }, { kyselyFor }, connections) => {
  const told = {}
  for (const [name, options] of Object.entries(connections)) {
    const db = await connect({ keyspace: 'app', ...options })
    try {
      told[name] = await workWith(db, { isFleetShardError, kyselyFor })
    } finally {
      await db.close()
    }
    told[name].grammarLoaded = Object.keys(createRequire(__filename).cache).some((file) =>
      file.includes('libpg-query'),
    )
  }
  return told
}

async function workWith(db, { isFleetShardError, kyselyFor }) {
  const key = 'packed-1'
  await db.sql`delete from users where user_id = ${key}`
  const shard = db.shard(key)
  await shard.transaction(async (tx) => {
    await tx.sql`insert into users (user_id, name) values (${key}, ${'Packed'})`
  })
  const rows = await shard.sql`select name, n from users where user_id = ${key}`
  const streamed = []
  for await (const row of db.all().sql`select user_id from users where name = ${'Packed'}`) streamed.push(row)
  const failed = await shard.query('select nothing').catch((error) => error)
  const built = await kyselyFor(shard).selectFrom('users').select('name').where('user_id', '=', key).execute()
  return {
    mode: db.mode,
    rows,
    streamed,
    built,
    shard: db.shardFor(key).shardId,
    error: { ours: isFleetShardError(failed), sqlstate: failed.sqlstate, outcome: failed.outcome },
  }
}
