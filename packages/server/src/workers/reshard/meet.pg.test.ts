// Merges of shards whose rows come under the same primary key: a row that leaves one source and comes to another, which
// the two streams may tell in any order. Number 22 of the invariants in SPEC.md.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startVersion, testVersions } from '../../engine/postgres/testing.ts'
import { makeFleet, type TestFleet } from './testing.ts'

const testMsMax = 120_000
const ddl = 'create table item (id bigint primary key, owner text not null, code text unique)'

describe.each(testVersions)('a merge whose rows meet on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  beforeAll(async () => {
    server = await startVersion(version)
  })
  afterAll(() => server[Symbol.asyncDispose]())

  /** Two sources with rows of their own, and a text key of each. */
  async function twoSources(
    meetMsMax = 20_000,
  ): Promise<{ fleet: TestFleet; ofA: string; ofB: string; [Symbol.asyncDispose](): Promise<void> }> {
    const fleet = await makeFleet(server, { sources: ['a', 'b'], targets: ['c'], ddl, meetMsMax })
    await fleet.declare('public.item', { column: 'owner', type: 'text' })
    const key = async (shard: string): Promise<string> => {
      for (let n = 0; ; n += 1) if ((await fleet.owner(`k${String(n)}`)) === shard) return `k${String(n)}`
    }
    const [ofA, ofB] = [await key('a'), await key('b')]
    await fleet.sql('a', 'insert into item (id, owner) select i, $1 from generate_series(1, 50) i', [ofA])
    await fleet.sql('b', 'insert into item (id, owner) select i, $1 from generate_series(101, 150) i', [ofB])
    return {
      fleet,
      ofA,
      ofB,
      async [Symbol.asyncDispose]() {
        await fleet[Symbol.asyncDispose]()
      },
    }
  }

  /** The stream of the newcomer has come to the row on the target, and either waits there or has taken its place. */
  async function untilMet(fleet: TestFleet, owner: string): Promise<void> {
    const look = async (): Promise<unknown> => {
      const [row] = await fleet.sql(
        'c',
        `select exists (select from item where id = 1 and owner = $1)
                or exists (select from pg_stat_activity where pid <> pg_backend_pid()
                            and datname = current_database() and query like '%with ordinality as k%') as met`,
        [owner],
      )
      return row?.['met']
    }
    await expect.poll(look).toBe(true)
  }

  it.each([
    { what: 'is inserted', how: 'insert into item (id, owner) values (1, $1)' },
    { what: 'gets its key by an update', how: 'update item set id = 1 where id = 101 and owner = $1' },
  ])(
    'a row that $what on one source before the other has told that its own is gone',
    async ({ how }) => {
      await using made = await twoSources()
      const { fleet, ofA, ofB } = made
      let isDone = false
      const ended = await fleet.finish(await fleet.submit({ kind: 'merge' }), async (name) => {
        // All rows have been compared: nothing would find it any more if one were lost from here on.
        if (name !== 'before calm' || isDone) return
        isDone = true
        await fleet.sql('b', how, [ofB])
        await untilMet(fleet, ofB)
        await fleet.sql('a', 'delete from item where id = 1')
      })
      expect(isDone).toBe(true)
      expect(ended).toMatchObject({ status: 'completed', errorMessage: null })
      expect(await fleet.sql('c', 'select owner from item where id = 1')).toEqual([{ owner: ofB }])
      const rows = await Promise.all(
        ['a', 'b'].map((shard) => fleet.sql(shard, 'select id, owner from item')),
      )
      const byId = (one: Record<string, unknown>, other: Record<string, unknown>): number =>
        Number(one['id']) - Number(other['id'])
      expect(await fleet.sql('c', 'select id, owner from item order by id')).toEqual(
        rows.flat().toSorted(byId),
      )
      expect(ofA).not.toBe(ofB)
    },
    testMsMax,
  )

  it(
    'ends with the reason when both rows stay, and neither has taken the place of the other',
    async () => {
      await using made = await twoSources(500)
      const { fleet, ofA, ofB } = made
      const ended = await fleet.finish(await fleet.submit({ kind: 'merge' }), async (name) => {
        if (name !== 'before calm') return
        await fleet.sql('b', 'update item set id = 1 where id = 101')
        await untilMet(fleet, ofB)
      })
      expect(ended).toMatchObject({ status: 'failed', errorCode: 'reshard_refused' })
      expect(ended.errorMessage).toMatch(
        /the row \(1\) of public.item stands on shard b and on another one .*; delete one of them, or take the shard key into/,
      )
      expect(await fleet.sql('a', 'select owner from item where id = 1')).toEqual([{ owner: ofA }])
      expect(await fleet.sql('b', 'select owner from item where id = 1')).toEqual([{ owner: ofB }])
      expect(await fleet.sql('c', 'select from item')).toEqual([])
    },
    testMsMax,
  )

  it.each([
    { what: 'primary key', sql: 'insert into item (id, owner) values (1, $1)' },
    { what: 'unique value', sql: `insert into item (id, owner, code) values (999, $1, 'same')` },
  ])(
    'is refused with the reason when rows of both sources have the same $what',
    async ({ sql }) => {
      await using made = await twoSources()
      const { fleet, ofB } = made
      await fleet.sql('a', `update item set code = 'same' where id = 2`)
      await fleet.sql('b', sql, [ofB])
      const ended = await fleet.finish(await fleet.submit({ kind: 'merge' }))
      expect(ended).toMatchObject({ status: 'failed', errorCode: 'reshard_refused' })
      expect(ended.errorMessage).toMatch(
        /rows of two sources clash: .*; delete one of them, or take the shard key/,
      )
      expect(await fleet.sql('c', 'select from item')).toEqual([])
    },
    testMsMax,
  )
})
