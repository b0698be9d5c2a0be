// Ids of fleetshard.next_id(): unique, ascending, told apart by block, and nobody waits for anybody's transaction.
import { parseShardId } from '@fleetshard/core'
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { idBlockBits, idCounterBits, idEpochMs } from './install.ts'
import { claimedDatabase, startVersion, testEngine, testVersions } from './testing.ts'

interface IdParts {
  readonly ms: number
  readonly block: number
  readonly counter: number
}

function take(id: bigint): IdParts {
  return {
    ms: Number(id >> BigInt(idBlockBits + idCounterBits)) + idEpochMs,
    block: Number((id >> BigInt(idCounterBits)) & BigInt(2 ** idBlockBits - 1)),
    counter: Number(id & BigInt(2 ** idCounterBits - 1)),
  }
}

describe.each(testVersions)('fleetshard.next_id() on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  beforeAll(async () => {
    server = await startVersion(version)
  })
  afterAll(() => server[Symbol.asyncDispose]())

  async function ids(client: Client, count: number): Promise<bigint[]> {
    const { rows } = await client.query<{ id: string }>(
      'select fleetshard.next_id() as id from generate_series(1, $1)',
      [count],
    )
    return rows.map(({ id }) => BigInt(id))
  }

  it('has the documented layout: time, block, counter', async () => {
    const target = await claimedDatabase(server, 'a', { sequenceBlock: 8191 })
    const client = await server.connect({ database: target.database })
    const { rows } = await client.query<{ id: string; before: string; after: string }>(
      `with before as materialized (select (extract(epoch from clock_timestamp()) * 1000)::bigint as ms),
            one as materialized (select ms, fleetshard.next_id() as id from before)
       select id, ms - 1 as before, (extract(epoch from clock_timestamp()) * 1000)::bigint + 1 as after from one`,
    )
    const [row] = rows
    const parts = take(BigInt(row?.id ?? 0))
    expect(parts.block).toBe(8191)
    expect(parts.ms).toBeGreaterThanOrEqual(Number(row?.before))
    expect(parts.ms).toBeLessThanOrEqual(Number(row?.after))
    await client.end()
  })

  it('ascends without a gap in order over many calls, more than fit into a millisecond', async () => {
    const target = await claimedDatabase(server, 'a')
    const client = await server.connect({ database: target.database })
    const given = await ids(client, 20_000)
    for (let index = 1; index < given.length; index++) {
      if ((given[index] ?? 0n) <= (given[index - 1] ?? 0n))
        throw new Error(`not ascending at ${String(index)}`)
    }
    await client.end()
  })

  it('never gives one twice to concurrent sessions, nor over two shards', async () => {
    const targets = [
      await claimedDatabase(server, 'a'),
      await claimedDatabase(server, 'b', { sequenceBlock: 1 }),
    ]
    const clients = await Promise.all(
      targets.flatMap(({ database }) => Array.from({ length: 6 }, () => server.connect({ database }))),
    )
    const given = (await Promise.all(clients.map((client) => ids(client, 2_000)))).flat()
    expect(new Set(given).size).toBe(clients.length * 2_000)
    await Promise.all(clients.map((client) => client.end()))
  })

  it('goes on ascending when the clock is behind what was given (a clock step, a failover)', async () => {
    const target = await claimedDatabase(server, 'a')
    const client = await server.connect({ database: target.database })
    const hourAhead = (BigInt(Date.now() - idEpochMs) + 3_600_000n) << BigInt(idCounterBits)
    await client.query(`select setval('fleetshard.id_clock', ${String(hourAhead)})`)
    const given = await ids(client, 1_000)
    expect(given.map((id) => take(id))[0]?.ms).toBeGreaterThan(Date.now() + 3_000_000)
    expect(new Set(given).size).toBe(1_000)
    expect([...given].sort((a, b) => (a < b ? -1 : 1))).toEqual(given)
    await client.end()
  })

  it('keeps no lock after the call, so that no session waits for the transaction of another', async () => {
    const target = await claimedDatabase(server, 'a')
    const [open, other] = await Promise.all([
      server.connect({ database: target.database }),
      server.connect({ database: target.database }),
    ])
    await open.query('begin')
    const [first] = await ids(open, 1)
    await other.query("set statement_timeout = '20s'")
    const [second] = await ids(other, 1)
    expect(second).toBeGreaterThan(first ?? 0n)
    await open.query('rollback')
    const [third] = await ids(open, 1)
    expect(third).toBeGreaterThan(second ?? 0n)
    await Promise.all([open.end(), other.end()])
  })

  it('works as a column default for a role with no rights in our schema', async () => {
    const target = await claimedDatabase(server, 'a')
    const admin = await server.connect({ superuser: true, database: target.database })
    await admin.query(`create role writer; create table notes (id bigint primary key default fleetshard.next_id(), t text);
      grant insert, select on notes to writer; set role writer`)
    const { rows } = await admin.query<{ id: string }>(
      "insert into notes (t) values ('x'), ('y') returning id",
    )
    expect(BigInt(rows[0]?.id ?? 0)).toBeLessThan(BigInt(rows[1]?.id ?? 0))
    await expect(admin.query("select setval('fleetshard.id_clock', 1)")).rejects.toThrow(/permission denied/)
    await admin.query('reset role; drop table notes; drop role writer')
    await admin.end()
  })

  it('refuses where no shard owns the database, and beyond the last block that fits', async () => {
    const target = await claimedDatabase(server, 'a', { sequenceBlock: 8192 })
    const client = await server.connect({ database: target.database })
    await expect(ids(client, 1)).rejects.toMatchObject({ code: '54000' })
    await testEngine.release(target, parseShardId('a'))
    await expect(ids(client, 1)).rejects.toMatchObject({ code: 'FS002' })
    await client.end()
  })
})
