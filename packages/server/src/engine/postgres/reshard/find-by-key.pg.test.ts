// Ten thousand rows of a large table are found by their keys: Postgres would read all of it, for each batch anew.
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseLsn, parseShardId } from '@fleetshard/core'
import { systemClock } from '../../../runtime/mod.ts'
import type { MovedTable } from '../../reshard-engine.ts'
import type { NodeTarget } from '../../shard-engine.ts'
import { startVersion, targetOf, testVersions } from '../testing.ts'
import { createPostgresReshardEngine } from './engine.ts'

const engine = createPostgresReshardEngine({ clock: systemClock })
const rows = 100_000

const tableOf = (name: string, columns: readonly string[], keys: number): MovedTable => ({
  name: `public.${name}`,
  kind: 'sharded',
  columns: columns.map((column) => ({ name: column, type: 'bigint' })),
  primaryKey: Array.from({ length: keys }, (_, index) => index),
  shardKey: { column: 0, type: 'int8' },
  unitsBy: 'integer',
  tellsKey: true,
  isUniqueByKey: true,
  hasTriggers: false,
  referencedBy: [],
  signature: '',
  rowsEstimate: rows,
  bytes: 0,
})
const [single, paired] = [tableOf('single', ['id', 'n'], 1), tableOf('paired', ['a', 'b', 'n'], 2)]

describe.each(testVersions)('rows of a large table on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  let target: NodeTarget
  let client: Client
  const { signal } = new AbortController()

  beforeAll(async () => {
    server = await startVersion(version)
    target = targetOf(server, await server.createDatabase())
    const { host, port, database, user, password } = target
    client = new Client({ host, port, database, user, password: password ?? '' })
    await client.connect()
    await client.query(
      `create schema fleetshard;
       create table single (id bigint primary key, n bigint);
       create table paired (a bigint, b bigint, n bigint, primary key (a, b));
       insert into single select i, 0 from generate_series(1, ${String(rows)}) i;
       insert into paired select i % 100, i, 0 from generate_series(1, ${String(rows)}) i`,
    )
    await client.query('vacuum analyze')
  })
  afterAll(async () => {
    await client.end()
    await server[Symbol.asyncDispose]()
  })

  const wholeReads = async (): Promise<number> => {
    await client.query('select pg_stat_clear_snapshot()')
    const { rows: found } = await client.query<{ n: number }>(
      `select sum(seq_scan)::int as n from pg_stat_user_tables where schemaname = 'public'`,
    )
    return found[0]?.n ?? NaN
  }

  it('are changed without reading all of it', async () => {
    const before = await wholeReads()
    const ids = Array.from({ length: 10_000 }, (_, index) => index * 10 + 1)
    const keys = {
      single: ids.map((id) => [String(id)]),
      paired: ids.map((id) => [String(id % 100), String(id)]),
    }
    {
      await using writer = await engine.openTarget(target, 'job', 1, signal)
      await writer.apply([
        { table: single, remove: keys.single, insert: keys.single.map((key) => [...key, '1']) },
        { table: paired, remove: keys.paired, insert: keys.paired.map((key) => [...key, '1']) },
      ])
      await writer.finish(parseShardId('a'), parseLsn('0/1'))
      expect(await writer.readRows(paired, keys.paired.slice(0, 2000), [2])).toHaveLength(2000)
    }
    await expect
      .poll(
        async () =>
          (await client.query('select from pg_stat_activity where datname = current_database()')).rowCount,
      )
      .toBe(1)
    expect(await wholeReads()).toBe(before)
    const { rows: changed } = await client.query(
      'select (select sum(n)::int from single) as single, (select sum(n)::int from paired) as paired',
    )
    expect(changed).toEqual([{ single: 10_000, paired: 10_000 }])
  })
})
