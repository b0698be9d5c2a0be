// A large catalog: 1,000 shards of 256 vnodes, from each real backend. The time it takes is printed, not asserted.
import { randomUUID } from 'node:crypto'
import { expect, it } from 'vitest'
import { silentLogger, systemClock } from '../runtime/mod.ts'
import { openCatalogStore } from './backends.ts'
import { createCatalog } from './catalog.ts'
import { patience } from './conformance/harness.ts'
import { routingShardsMax } from './routing.ts'
import { findEtcd, startTestEtcd } from './testing/etcd-server.ts'
import { startTestPostgres } from './testing/postgres-server.ts'
import { app, sampleKeyspace, sampleShard } from './testing/sample-records.ts'
import { createCatalogView } from './view.ts'

const shardCount = 1_000
const options = { clock: systemClock, log: silentLogger }

async function loadLargeCatalog(url: string): Promise<void> {
  const shards = Array.from({ length: shardCount }, (_, n) =>
    sampleShard(`s${String(n).padStart(4, '0')}`, app, 256),
  )
  {
    await using store = openCatalogStore(url, options)
    const catalog = createCatalog({ store, clock: systemClock, uuid: randomUUID })
    await catalog.keyspaces.create(sampleKeyspace())
    let base = (await catalog.keyspaces.read(app)) ?? expect.fail('no keyspace')
    for (let from = 0; from < shards.length; from += routingShardsMax) {
      const chunk = shards.slice(from, from + routingShardsMax)
      base = await catalog.changeRouting(app, () => ({ put: chunk }), { base })
    }
  }
  // As a process that starts: a new connection, the schema looked for, everything read and parsed.
  await using store = openCatalogStore(url, options)
  await using view = createCatalogView({ ...options, store })
  const startMs = performance.now()
  const stop = new AbortController()
  const running = view.run(stop.signal)
  const state = await view.loaded(patience())
  const tookMs = performance.now() - startMs
  console.log(`${url.split(':')[0]}: ${shardCount} shards of 256 vnodes loaded in ${tookMs.toFixed(0)} ms`)
  expect(state.keyspaces.get(app)?.shards).toEqual(shards)
  stop.abort()
  await running
}

it('loads from Postgres', async () => {
  await using server = await startTestPostgres(process.env['FLEETSHARD_PG_BIN'])
  await loadLargeCatalog(server.url)
})

const etcd = await findEtcd()
const required = process.env['FLEETSHARD_REQUIRE_ETCD'] === '1'

it.skipIf(etcd === null && !required)('loads from etcd (needs etcd on the PATH)', async () => {
  if (etcd === null) expect.fail('FLEETSHARD_REQUIRE_ETCD=1, but etcd is not installed')
  await using server = await startTestEtcd(etcd)
  await loadLargeCatalog(server.url)
})
