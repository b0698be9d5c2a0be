// The demo as users run it, on few rows: every promise holds, and nothing is left behind, also after Ctrl-C.
import { readdirSync, rmSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { freePorts, temporaryFolder } from './harness/cluster.ts'
import { killBelow, processesBelow, startFleetshard, type Running } from './harness/processes.ts'
import { until } from './harness/until.ts'

const cities = 2_000
const users = 300
const rows = cities + users

/** The demo's own directory is made in here. */
let folder = ''
beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(() => {
  killBelow(folder)
  rmSync(folder, { recursive: true, force: true })
})

/** A range of ports that servers of other tests hardly share. */
const postgresPort = (): string => String(16_000 + Math.floor(Math.random() * 150) * 100)

function startDemo(...words: readonly string[]): Running {
  const size = ['--cities', String(cities), '--users', String(users)]
  const servers = ['--fsync', 'false', '--postgres-port', postgresPort()]
  return startFleetshard(['demo', ...size, ...servers, ...freePorts, ...words], { env: { TMPDIR: folder } })
}

/** No server runs any more, and no file is left. */
function expectNothingLeft(): void {
  expect(processesBelow(folder)).toEqual([])
  expect(readdirSync(folder)).toEqual([])
}

describe('the demo', () => {
  test('writes, reads back and finds every row, survives the catalog, and leaves nothing', async () => {
    await using demo = startDemo('--json')
    const { code, out, err } = await demo.finished
    expect(code, err).toBe(0)
    const result: unknown = JSON.parse(out)
    expect(result).toMatchObject({
      rows_written: rows,
      rows_read_back: rows,
      reads_strong: rows,
      reads_eventual: rows,
      reads_eventual_from_replicas: rows,
      wrong_shard: 0,
      servers_inspected: 4,
      errors_while_catalog_down: 0,
      changes_refused_while_catalog_down: true,
      holds: true,
      failures: [],
      added_shard: { name: 'shard-03', status: 'inactive' },
      split: { status: 'completed', differences: 0, errors: 0, wrong_shard: 0 },
      client: {
        same: true,
        http: {
          mode: 'http',
          reads: users,
          streamed_rows: users,
          rolled_back: true,
          refused: '23505 aborted',
        },
        direct: { mode: 'direct', reads: users, streamed_rows: users, rolled_back: true },
      },
    })
    const { shards, queries_while_catalog_down: queries, seconds, ...told } = result as Result
    expect(told.added_shard.reason).toContain('holds rows')
    expect(told.attribution).toContain('CC BY 4.0')
    expect(shards.map(({ name, status }) => ({ name, status }))).toEqual([
      { name: 'shard-01', status: 'active' },
      { name: 'shard-02', status: 'active' },
    ])
    expect(shards.reduce((sum, shard) => sum + shard.tables.cities, 0)).toBe(cities)
    expect(shards.reduce((sum, shard) => sum + shard.tables.users, 0)).toBe(users)
    expect(shards.every((shard) => shard.rows > 0)).toBe(true)
    expect(queries).toBeGreaterThan(0)
    expect(Object.keys(seconds)).toEqual(expect.arrayContaining(['write', 'read', 'inspect', 'catalog_down']))
    expectNothingLeft()
  })

  test('tells people of bars and figures without --json, on a cluster of another shape', async () => {
    await using demo = startDemo('--shards', '3', '--replicas', '0')
    const { code, out, err } = await demo.finished
    expect(code, err).toBe(0)
    for (const shard of ['shard-01', 'shard-02', 'shard-03'])
      expect(out).toMatch(new RegExp(`${shard}  █+░+ `))
    expect(out).toContain('shard-04')
    expect(out).toContain('CC BY 4.0')
    expect(out).toContain('from the primaries, since there are no replicas')
    expect(out).toContain('the same both ways')
    expect(out).toContain('everything held')
    expectNothingLeft()
  })

  test.each(['shard-01', 'killed; its server is gone'])(
    'stops and cleans up at Ctrl-C: %s',
    async (moment) => {
      await using demo = startDemo('--json')
      await until('the demo is there', () => demo.output().err.includes(moment))
      demo.kill('SIGINT')
      const { code, out } = await demo.finished
      expect(code).toBe(130)
      expect(out).toBe('')
      expectNothingLeft()
    },
  )

  test('refuses a data directory, since it removes its own', async () => {
    await using demo = startDemo('--data-dir', folder)
    const { code, err } = await demo.finished
    expect(code).toBe(2)
    expect(err).toContain('--data-dir')
    expectNothingLeft()
  })
})

interface Result {
  readonly shards: readonly {
    readonly name: string
    readonly status: string
    readonly rows: number
    readonly tables: { readonly cities: number; readonly users: number }
  }[]
  readonly added_shard: { readonly reason: string }
  readonly attribution: string
  readonly queries_while_catalog_down: number
  readonly seconds: Readonly<Record<string, number>>
}
