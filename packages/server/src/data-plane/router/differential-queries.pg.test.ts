// The planner against one Postgres that holds all rows: whatever it places on one shard must give there what the one
// Postgres gives. Joins, subqueries, WITH queries, set operations and writes are put together at random, for each key
// type. DIFF_RUNS says how many statements for each type, DIFF_SEED where to begin; DIFF_COUNTS=1 tells what was seen.
import { isFleetError, type ShardMap } from '@fleetshard/core'
import { lexQuery, placeStatement, planOf, type KnownStatement } from '@fleetshard/routing/plan'
import { analyseText, loadGrammar } from '@fleetshard/routing/plan/grammar'
import { testMap, testTable } from '@fleetshard/routing/testing'
import { exec, query, type ServerConnection } from '@fleetshard/routing/wire'
import { slotKey } from '@fleetshard/routing/plan'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { FAMILIES, queriesRows, queriesSchema, QueryMaker, type Family } from './testing-queries.ts'

const shardCount = 3
const runs = Number(process.env['DIFF_RUNS'] ?? 500)
const firstSeed = Number(process.env['DIFF_SEED'] ?? 1)

const families = Object.keys(FAMILIES) as Family[]
const map: ShardMap = testMap(
  shardCount,
  families.flatMap((family) => [
    testTable(`public.a_${family}`, { keyColumn: 'k', keyType: FAMILIES[family].keyType }),
    testTable(`public.b_${family}`, { keyColumn: 'owner', keyType: FAMILIES[family].keyType }),
    testTable(`public.r_${family}`, { kind: 'reference', keyColumn: null, keyType: null }),
  ]),
)

/** Postgres finds these while it looks at rows that no result has: it depends on its plan. */
const eagerErrors = new Set(['21000'])

type Outcome = { readonly rows: readonly string[] } | { readonly sqlstate: string }

async function run(connection: ServerConnection, sql: string): Promise<Outcome> {
  try {
    const { rows } = await query(connection, sql, [])
    return { rows: rows.map((row) => JSON.stringify(row)).toSorted() }
  } catch (error) {
    if (!isFleetError(error)) throw error
    return { sqlstate: String(error.facts['sqlstate'] ?? error.code) }
  }
}

describe('statements that are placed on one shard', () => {
  let server: TestPostgres
  let whole: ServerConnection
  const shards: ServerConnection[] = []
  const known = new Map<string, KnownStatement>()

  beforeAll(async () => {
    await loadGrammar()
    server = await startTestPostgres(postgresBuilds()[0]!)
    const admin = await server.connect()
    for (const name of ['whole', ...map.owners.map(({ id }) => id)]) {
      await exec(admin, `create database ${name}`)
      const connection = await server.connect({ database: name })
      await exec(connection, queriesSchema)
      if (name === 'whole') whole = connection
      else shards.push(connection)
    }
    await admin.close()
    for (const [table, key, x, y] of queriesRows()) {
      const { keyType } = FAMILIES[table.slice(2) as Family]
      const owner = map.owners.indexOf(map.shardFor(slotKey(key, keyType), keyType))
      const homes = table.startsWith('r_') ? shards : [shards[owner]!]
      for (const connection of [whole, ...homes])
        await query(connection, `insert into ${table} values ('${key}', ${String(x)}, '${y}')`)
    }
  }, 60_000)
  afterAll(async () => {
    await Promise.all([whole, ...shards].map((connection) => connection.close()))
    await server[Symbol.asyncDispose]()
  })

  /** The analysis of the first statement with that key, as the plan cache has it. */
  function knownBy(key: string, text: string): KnownStatement | null {
    const kept = known.get(key)
    if (kept !== undefined) return kept
    const analysis = analyseText(text)
    if (analysis.kind !== 'statement') return null
    const { facts } = analysis
    const made = {
      text,
      facts,
      hint: { kind: 'none' },
      cost: { meanMs: null, large: false, alone: 0 },
    } as const
    known.set(key, made)
    return made
  }

  /** Where the planner sends the text; null when it refuses. The plan of another statement with that key must agree. */
  function place(text: string): number | null {
    const [lexed] = lexQuery(text)
    const shared = lexed === undefined ? null : knownBy(lexed.key, text)
    if (lexed === undefined || shared === null) return null
    const fresh = knownBy(`fresh ${text}`, text)!
    known.delete(`fresh ${text}`)
    const [one, other] = [
      attempt(() => placeStatement(fresh, map, { params: [] }).id),
      attempt(() => placeStatement(shared, map, { params: [], literals: lexed.literals }).id),
    ]
    expect(other, `${text}: known by ${JSON.stringify(lexed.key)}`).toBe(one)
    const plan = planOf(fresh, map)
    if (plan.kind === 'any') return null
    return map.owners.findIndex(({ id }) => id === one)
  }

  const attempt = (action: () => string): string => {
    try {
      return action()
    } catch (error) {
      if (isFleetError(error)) return error.code
      throw error
    }
  }

  /** Runs it on both sides in transactions that are rolled back, and compares what it gives and what it leaves. */
  async function compare(text: string, index: number, family: Family): Promise<'same' | 'failed'> {
    const shard = shards[index]!
    const both = [shard, whole] as const
    await Promise.all(both.map((connection) => exec(connection, 'begin')))
    const [ours, theirs] = await Promise.all(both.map((connection) => run(connection, text)))
    try {
      if (ours === undefined || theirs === undefined) throw new Error('two servers were asked')
      if ('sqlstate' in theirs && eagerErrors.has(theirs.sqlstate)) return 'failed'
      expect(ours, text).toEqual(theirs)
      if ('sqlstate' in ours) return 'failed'
      if (!/^(select|with(?! d as))/.test(text)) await compareTables(text, index, family)
      return 'same'
    } finally {
      await Promise.all(both.map((connection) => exec(connection, 'rollback')))
    }
  }

  async function compareTables(text: string, index: number, family: Family): Promise<void> {
    const sql = `select k, x, y from a_${family}`
    const [all, ...parts] = await Promise.all([whole, ...shards].map((connection) => query(connection, sql)))
    const told = (rows: readonly (readonly unknown[])[]): string[] =>
      rows.map((row) => JSON.stringify(row)).toSorted()
    expect(told(parts.flatMap(({ rows }) => rows)), text).toEqual(told(all?.rows ?? []))
    const { keyType } = FAMILIES[family]
    for (const [key] of parts[index]?.rows ?? []) {
      const owner = map.shardFor(slotKey(key, keyType), keyType)
      expect(map.owners.indexOf(owner), `${text}: ${String(key)}`).toBe(index)
    }
  }

  it.each(families)(
    'give the answer of one Postgres, with keys of type %s',
    async (family) => {
      const seen = { same: 0, failed: 0, refused: 0 }
      for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) {
        const text = new QueryMaker(seed * 7919, family).statement()
        const index = place(text)
        seen[index === null || index < 0 ? 'refused' : await compare(text, index, family)] += 1
      }
      if (process.env['DIFF_COUNTS'] !== undefined)
        process.stderr.write(`${family} ${JSON.stringify(seen)}\n`)
      expect(seen.same).toBeGreaterThan(runs / 20)
      expect(seen.refused).toBeGreaterThan(runs / 20)
    },
    600_000,
  )
})
