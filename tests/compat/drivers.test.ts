// Drivers that people use, each put through the same cases: against Postgres, through a router before one shard, and
// through one before two, where the tables are sharded by tenant and each case works on one.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadAllowed } from './compare.ts'
import { caseNames } from './drivers/case.ts'
import { drivers } from './drivers/mod.ts'
import { makePgbenchTables, pgbench, pgbenchModes, runPgbench } from './drivers/pgbench.ts'
import { startOneShard, startTwoShards, type Placed } from './places.ts'

const ways = ['Postgres itself', 'a router, one shard', 'a router, two shards'] as const
type Way = (typeof ways)[number]

const allowed = loadAllowed()
let one: Placed
let two: Placed
beforeAll(async () => {
  ;[one, two] = await Promise.all([startOneShard(), startTwoShards()])
  if (pgbench !== null) await makePgbenchTables(one.directUrl)
})
afterAll(async () => {
  await (one as Placed | undefined)?.[Symbol.asyncDispose]()
  await (two as Placed | undefined)?.[Symbol.asyncDispose]()
})

function urlOf(way: Way): string {
  if (way === 'Postgres itself') return one.directUrl
  return way === 'a router, one shard' ? one.routerUrl : two.routerUrl
}

describe.each(ways)('%s', (way) => {
  describe.each(drivers)('$name', (driver) => {
    for (const name of caseNames) {
      const run = driver.cases[name]
      if (run === undefined) continue
      const refused = allowed.drivers[way]?.[name]?.drivers.includes(driver.name) === true
      // A refusal that is not given any more must leave the list: the test fails then.
      const check = refused ? test.fails : test
      check(name, async ({ skip }) => {
        if (driver.missing !== null) skip(driver.missing)
        await run({ url: urlOf(way), tenant: `${driver.name} ${name} ${way}` })
      })
    }
  })

  describe.each(pgbenchModes)('pgbench %s', (mode) => {
    // Its own tables are declared nowhere, which two shards don't take.
    const scripts = way === 'a router, two shards' ? [null] : (['select-only', 'tpcb-like', null] as const)
    test.each(scripts)('%s', async (builtin) => {
      expect(pgbench).not.toBeNull()
      await runPgbench(urlOf(way), mode, builtin)
    })
  })
})
