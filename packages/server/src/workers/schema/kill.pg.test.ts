// Real worker processes, killed as by kill -9 at every step of a schema job, with a catalog in Postgres; a second
// process finds the job when the lease of the first has run out, and ends it.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { JobRecord } from '@fleetshard/core'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { createCatalogView, openCatalogStore, type Catalog, type CatalogStore } from '../../catalog/mod.ts'
import type { NodeTarget, TableDeclaration } from '../../engine/mod.ts'
import { startVersion, targetOf, testVersions } from '../../engine/postgres/testing.ts'
import { createMetrics, silentLogger, systemClock } from '../../runtime/mod.ts'
import { WorkerRunner } from '../runner.ts'
import type { WorkerParts } from '../worker.ts'
import type { KillOrder } from './kill-child.ts'
import { gidPrefix } from './shards.ts'
import { addShard, createKeyspace, keyspace, submit, workerParts } from './testing.ts'
import { createSchemaWorker } from './worker.ts'

const leaseTtlMs = 600
const child = fileURLToPath(new URL('./kill-child.ts', import.meta.url))
const deps = { clock: systemClock, log: silentLogger }
const [version] = testVersions
if (version === undefined) throw new Error('there is always the embedded server')

let server: Awaited<ReturnType<typeof startVersion>>
let store: CatalogStore
let parts: WorkerParts
let catalog: Catalog
let catalogUrl: string
const targets: NodeTarget[] = []
const stop = new AbortController()
const services: Promise<void>[] = []
const children = new Set<ChildProcess>()

beforeAll(async () => {
  server = await startVersion(version)
  const database = await server.createDatabase('catalog')
  catalogUrl = `postgres://${server.user}:${server.password}@${server.host}:${String(server.port)}/${database}`
  store = openCatalogStore(catalogUrl, deps)
  parts = workerParts(store, server.password)
  catalog = parts.catalog
  await createKeyspace(catalog)
  for (const name of ['a', 'b']) {
    const target = targetOf(server, await server.createDatabase(`shard_${name}`))
    await addShard(parts, target, name, targets.length)
    targets.push(target)
  }
})

afterEach(() => {
  for (const worker of children) worker.kill('SIGKILL')
  children.clear()
})

afterAll(async () => {
  stop.abort(new Error('the test is over'))
  await Promise.allSettled(services)
  await store[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const stored = async (job: JobRecord): Promise<JobRecord | null> =>
  (await catalog.jobs.get(job.id))?.record ?? null

/** Runs a worker process until it has killed itself. */
async function dieAfter(checkpoints: number): Promise<void> {
  const order: KillOrder = { catalogUrl, password: server.password, checkpoints, leaseTtlMs }
  const worker = fork(child, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [] })
  children.add(worker)
  const exit = once(worker, 'exit') as Promise<[number | null, string | null]>
  worker.send(order)
  const [, signal] = await exit
  children.delete(worker)
  expect(signal).toBe('SIGKILL')
}

/** Works on in this process until the job has ended. */
async function finish(job: JobRecord): Promise<JobRecord> {
  const view = createCatalogView({ ...deps, store })
  const stopped = new AbortController()
  const signal = AbortSignal.any([stop.signal, stopped.signal])
  const runner = new WorkerRunner({
    metrics: createMetrics(false),
    ...parts,
    clock: systemClock,
    view,
    worker: `finisher-${job.id}`,
    definitions: [createSchemaWorker()],
    options: { leaseTtlMs: 10_000, retryMsMin: 20, retryMsMax: 100 },
  })
  services.push(view.run(signal), runner.run(signal))
  const state = await view.until(
    (now) => typeof now.jobs.get(job.id)?.record.completedAt === 'string',
    stop.signal,
  )
  stopped.abort(new Error('done'))
  const ended = state.jobs.get(job.id)?.record
  if (ended === undefined) throw new Error('the job is gone')
  return ended
}

async function tables(): Promise<boolean[]> {
  const names = await Promise.all(targets.map((target) => parts.engineOf('postgres').describeTables(target)))
  return names.map((found) => found.some(({ name }) => name === current))
}

async function leftBehind(): Promise<string[]> {
  const found = await Promise.all(
    targets.map((target) => parts.engineOf('postgres').listPrepared(target, gidPrefix)),
  )
  return found.flat().map(({ gid }) => gid)
}

let current = ''

function jobOn(table: string): Promise<JobRecord> {
  current = `public.${table}`
  const declaration: TableDeclaration = { name: current, kind: 'sharded', keyColumn: 'user_id' }
  return submit(catalog, `create table ${table} (user_id text primary key, n bigserial)`, [declaration])
}

/** Checkpoints of a job on two shards, see worker.pg.test.ts. */
const steps = Array.from({ length: 16 }, (_, index) => index)

it.each(steps)(
  'a worker killed after %i checkpoints leaves the change to the next, which ends it whole',
  async (step) => {
    const job = await jobOn(`t${String(step)}`)
    await dieAfter(step)
    const between = await tables()
    const state = (await stored(job))?.state ?? ''
    if (!['committing', 'recording', 'completed'].includes(state)) expect(between).toEqual([false, false])
    const ended = state === 'completed' ? await stored(job) : await finish(job)
    expect(ended?.status).toBe('completed')
    expect(await tables()).toEqual([true, true])
    expect(await leftBehind()).toEqual([])
    expect(await catalog.tables.get(keyspace, current)).not.toBeNull()
  },
)

it.each([2, 3, 5, 6, 7, 9, 10])(
  'a worker killed after %i checkpoints of a change that one shard refuses leaves nothing anywhere',
  async (step) => {
    const [, second] = targets
    if (second === undefined) throw new Error('two shards')
    const table = `r${String(step)}`
    const client = await server.connect({ database: second.database })
    await client.query(`create table ${table} (taken int)`)
    await client.end()
    const job = await jobOn(table)
    await dieAfter(step)
    const ended = await finish(job)
    expect(ended).toMatchObject({ status: 'failed', errorCode: 'schema_failed' })
    expect(await tables()).toEqual([false, true])
    expect(await leftBehind()).toEqual([])
    expect(await catalog.tables.get(keyspace, current)).toBeNull()
  },
)
