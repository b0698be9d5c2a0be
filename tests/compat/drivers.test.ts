// Drivers that people use, each put through the same cases.
import pg from 'pg'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { startCluster, type Cluster } from '../e2e/harness/cluster.ts'
import { nodeUrl } from '../wire/direct.ts'
import { bigInsert, caseNames, driverSchema } from './drivers/case.ts'
import { drivers } from './drivers/mod.ts'
import { makePgbenchTables, pgbench, pgbenchModes, runPgbench } from './drivers/pgbench.ts'

let cluster: Cluster
let url: string
beforeAll(async () => {
  cluster = await startCluster({ up: ['--shards', '1', '--replicas', '0'] })
  url = nodeUrl(cluster, 'shard-1-a')
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(driverSchema)
  await client.query(bigInsert)
  await client.end()
  if (pgbench !== null) await makePgbenchTables(url)
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

describe.each(drivers)('$name, against Postgres', (driver) => {
  for (const name of caseNames) {
    const run = driver.cases[name]
    if (run === undefined) continue
    test(name, async ({ skip }) => {
      if (driver.missing !== null) skip(driver.missing)
      await run({ url, tenant: `${driver.name} ${name}` })
    })
  }
})

describe.each(pgbenchModes)('pgbench %s, against Postgres', (mode) => {
  test.each(['select-only', 'tpcb-like', null] as const)('%s', async (builtin) => {
    await runPgbench(url, mode, builtin)
  })
})
