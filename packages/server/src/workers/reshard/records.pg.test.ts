// What is remembered under idempotency keys, on its way with the rows: SPEC.md, invariant 13.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseShardId } from '@fleetshard/core'
import { parseReshardJobDetail } from '../../engine/mod.ts'
import { startVersion, testVersions } from '../../engine/postgres/testing.ts'
import { makeFleet, type TestFleet } from './testing.ts'

const testMsMax = 120_000
const targetB = { shard: parseShardId('b'), vnodeCount: 16 }

describe.each(testVersions)('records of idempotency keys on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  beforeAll(async () => {
    server = await startVersion(version)
  })
  afterAll(() => server[Symbol.asyncDispose]())

  async function usersFleet(sources = ['a'], targets = ['b', 'c']): Promise<TestFleet> {
    const ddl = 'create table users (user_id text primary key)'
    const fleet = await makeFleet(server, { sources, targets, ddl })
    await fleet.declare('public.users', { column: 'user_id', type: 'text' })
    await fleet.rememberKeys()
    return fleet
  }

  it(
    'go to where the keys of their statements go, those without to every target (13)',
    async () => {
      await using fleet = await usersFleet()
      const remember = async (key: string, row: string | null, rows = ''): Promise<void> => {
        const hash = row === null ? null : await fleet.hash(row)
        await fleet.sql(
          'a',
          `insert into fleetshard.idempotency (key, shard_hash, fingerprint, results, rows, expires_at)
           values ($1, $2, 'f', '[1]', $3, now() + interval '1 hour')`,
          [key, hash, Buffer.from(rows)],
        )
      }
      for (let i = 0; i < 50; i += 1) await remember(`before-${String(i)}`, `user-${String(i)}`, 'rows')
      await remember('before-nobody', null)
      const ended = await fleet.finish(await fleet.submit({ kind: 'split' }), async (name) => {
        if (name === 'before persist copied') {
          for (let i = 0; i < 50; i += 1) await remember(`during-${String(i)}`, `user-${String(i)}`)
          await remember('during-nobody', null)
          await fleet.sql('a', `delete from fleetshard.idempotency where key in ('before-3', 'during-4')`)
        }
        if (name === 'before hold') await remember('last', 'user-1')
      })
      expect(ended).toMatchObject({ status: 'completed', errorMessage: null })
      const all = await fleet.sql('a', 'select key, results, rows from fleetshard.idempotency order by key')
      const places = new Map<string, string[]>()
      for (const shard of ['b', 'c']) {
        for (const row of await fleet.sql(shard, 'select key, results, rows from fleetshard.idempotency')) {
          expect(all).toContainEqual(row)
          const key = String(row['key'])
          places.set(key, [...(places.get(key) ?? []), shard])
        }
      }
      expect([...places.keys()].toSorted()).toEqual(all.map(({ key }) => key))
      for (const [key, shards] of places) {
        const row = key === 'last' ? 'user-1' : `user-${key.split('-')[1] ?? ''}`
        const owners = key.endsWith('nobody') ? ['b', 'c'] : [await fleet.owner(row)]
        expect({ key, shards }).toEqual({ key, shards: owners })
      }
    },
    testMsMax,
  )

  it(
    'are refused once the source is fenced, so that none comes too late (7, 13)',
    async () => {
      await using fleet = await usersFleet()
      const refused: unknown[] = []
      const ended = await fleet.finish(
        await fleet.submit({ kind: 'move', targets: [targetB] }),
        async (name) => {
          if (name !== 'after fence') return
          const late = await fleet.client('a')
          await late
            .query(
              `insert into fleetshard.idempotency (key, fingerprint, expires_at) values ('late', 'f', now())`,
            )
            .catch((error: unknown) => refused.push(error))
        },
      )
      expect(ended).toMatchObject({ status: 'completed', errorMessage: null })
      expect(refused).toMatchObject([{ code: 'FS001' }])
    },
    testMsMax,
  )

  it(
    'are taken back with the rows when a job is cancelled, so that the next one brings them again',
    async () => {
      await using fleet = await usersFleet(['a'], ['b'])
      await fleet.sql(
        'a',
        `insert into fleetshard.idempotency (key, fingerprint, expires_at)
         select 'key-' || i, 'f', now() + interval '1 hour' from generate_series(1, 100) i`,
      )
      const first = await fleet.submit({ kind: 'move' })
      const cancelled = await fleet.finish(first, async (name) => {
        if (name !== 'before persist copied') return
        await fleet.catalog.jobs.update(first.id, (job) => ({
          ...job,
          detail: { ...parseReshardJobDetail(job.detail), order: 'cancel' },
        }))
      })
      expect(cancelled).toMatchObject({ status: 'cancelled' })
      expect(await fleet.sql('b', 'select from fleetshard.idempotency')).toEqual([])
      const ended = await fleet.finish(await fleet.submit({ kind: 'move' }))
      expect(ended).toMatchObject({ status: 'completed', errorMessage: null })
      expect(await fleet.sql('b', 'select from fleetshard.idempotency')).toHaveLength(100)
    },
    testMsMax,
  )

  it(
    'stand against a merge when two shards have one of the same name',
    async () => {
      await using fleet = await usersFleet(['a', 'b'], ['c'])
      for (const shard of ['a', 'b']) {
        await fleet.sql(
          shard,
          `insert into fleetshard.idempotency (key, fingerprint, expires_at) values ('same', 'f', now() + interval '1 hour')`,
        )
      }
      const ended = await fleet.finish(await fleet.submit({ kind: 'merge' }))
      expect(ended).toMatchObject({ status: 'failed', errorCode: 'reshard_refused' })
      expect(ended.errorMessage).toMatch(/rows of two sources clash: .*idempotency_pkey/)
      expect(await fleet.sql('c', 'select key from fleetshard.idempotency')).toEqual([])
    },
    testMsMax,
  )
})
